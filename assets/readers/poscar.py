"""POSCAR, the structure files of VASP (``POSCAR``, ``CONTCAR``, ``*.vasp``, ``*.poscar``), versions 4 and 5.

A snapshot is one file, a folder of them, or a zip or tar archive; ``.gz`` is unpacked. The comment line can be wanted
as ``comment``. Velocities and what else follows the positions is passed over.

Source: https://www.vasp.at/wiki/index.php/POSCAR.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from assets.cell_records import Found, batches, wanted_columns
from assets.formulas import ELEMENTS
from assets.members import DAMAGED, damaged, members, unpacked
from assets.unit_cells import CellError, cell, fractional, lattice, species
from catalog.records import Snapshot

MAX_TEXT = 256 << 20


class Options(BaseModel):
    """POSCAR needs no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def read(snapshot: Snapshot, options: Options, columns: Collection[str]) -> pa.RecordBatchReader:  # noqa: ARG001
    """Stream a snapshot's structures as records; see ``assets.cell_records.batches``."""
    wanted = wanted_columns(columns)
    return batches(
        snapshot, _found(snapshot, wanted), wanted, {"comment"}, "files named POSCAR, CONTCAR, *.vasp or *.poscar"
    )


def _found(snapshot: Snapshot, wanted: list[str]) -> Iterator[Found]:
    for member in members(snapshot, _is_poscar):
        try:
            content = unpacked(member.stream).read(MAX_TEXT + 1)
        except DAMAGED as error:
            raise damaged(member.place, error) from error
        words = content.decode("utf-8", errors="replace")
        try:
            comment, found = _cell(words)
        except CellError as error:
            yield Found(member.place, None, None, str(error), words)
            continue
        values = {name: comment if name == "comment" else None for name in wanted}
        yield Found(member.place, member.place.rpartition(" ")[2], found, values=values)


def _is_poscar(name: str) -> bool:
    name = name.rpartition("/")[2].lower().removesuffix(".gz")
    return name.startswith(("poscar", "contcar")) or name.endswith((".vasp", ".poscar"))


def _cell(words: str) -> tuple[str, dict[str, Any]]:
    lines = words.splitlines()
    if len(lines) < 8:
        raise CellError(f"the file has {len(lines)} lines; a POSCAR has 8 and more")
    comment = lines[0].strip()
    vectors = _scaled(_numbers(lines, 1, (1, 3)), [_numbers(lines, number, (3,)) for number in (2, 3, 4)])
    symbols, counts, next_line = _contents(lines, comment)
    mode = lines[next_line].strip().lower() if next_line < len(lines) else ""
    if mode.startswith("s"):
        next_line += 1
        mode = lines[next_line].strip().lower() if next_line < len(lines) else ""
    if not mode or mode[0] not in "dck":
        raise CellError(f"line {next_line + 1} is {mode[:40]!r}; expected Direct or Cartesian")
    positions = [_numbers(lines, next_line + 1 + site, (3,), more=True)[:3] for site in range(sum(counts))]
    if mode[0] in "ck":
        scale = _scale(_numbers(lines, 1, (1, 3)), [_numbers(lines, number, (3,)) for number in (2, 3, 4)])
        positions = fractional((np.array(positions) * scale).tolist(), vectors)
    names = [symbol for symbol, count in zip(symbols, counts, strict=True) for _ in range(count)]
    kinds = [species([(symbol, 1.0)], symbol) for symbol in dict.fromkeys(names)]
    return comment, cell(vectors, positions, names, kinds)


def _numbers(lines: list[str], number: int, counts: tuple[int, ...], more: bool = False) -> list[float]:
    if number >= len(lines):
        raise CellError(f"the file ends at line {len(lines)}, before all positions are given")
    words = lines[number].split()
    words = words[:3] if more else words
    try:
        found = [float(word.replace("d", "e").replace("D", "e")) for word in words]
    except ValueError:
        found = []
    if len(found) not in counts or not np.isfinite(found).all():
        raise CellError(f"line {number + 1} is {lines[number].strip()[:60]!r}; expected {counts[-1]} numbers")
    return found


def _scale(scale: list[float], vectors: list[list[float]]) -> Any:
    """What lengths are multiplied by: one number, one for each axis, or what gives a (negative) volume."""
    if len(scale) == 1 and scale[0] < 0:
        volume = abs(float(np.linalg.det(np.array(vectors))))
        if not volume:
            raise CellError("the lattice vectors span no volume")
        return (-scale[0] / volume) ** (1 / 3)
    if min(scale) <= 0:
        raise CellError(f"the scale is {scale}; expected positive numbers, or one negative volume")
    return np.array(scale)


def _scaled(scale: list[float], vectors: list[list[float]]) -> list[list[float]]:
    return lattice((np.array(vectors) * _scale(scale, vectors)).tolist())


def _contents(lines: list[str], comment: str) -> tuple[list[str], list[int], int]:
    """Symbols, counts and the number of the line after them; VASP 4 names the elements in the comment at best."""
    words = lines[5].split()
    if words and all(word.isdecimal() for word in words):
        symbols, counts, after = re.findall(r"[A-Z][a-z]?", comment), words, 6
        if len(symbols) != len(counts) or comment.split() != symbols:
            raise CellError("the file (of VASP 4) does not say which elements it holds: its comment is not their list")
    else:
        symbols = [word.partition("_")[0].partition("/")[0] for word in words]
        counts, after = lines[6].split(), 7
    if len(counts) != len(symbols) or not all(word.isdecimal() and int(word) > 0 for word in counts) or not counts:
        raise CellError(f"line {after} is {lines[after - 1].strip()[:60]!r}; expected {len(symbols)} numbers of atoms")
    unknown = [symbol for symbol in symbols if symbol not in ELEMENTS]
    if unknown:
        raise CellError(f"{unknown[0]!r} is no element")
    if sum(map(int, counts)) > len(lines):
        raise CellError(f"{sum(map(int, counts))} atoms are announced, and the file has {len(lines)} lines")
    return symbols, [int(word) for word in counts], after
