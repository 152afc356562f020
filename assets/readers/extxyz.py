"""Extended XYZ: frames of atoms with a ``Lattice`` and ``Properties``; one record per frame.

A snapshot is one file, a folder of them, or a zip or tar archive; ``.gz`` is unpacked. A mapping wants the other
values of a frame's second line by their keys (``energy``), which come as text.

Source: https://github.com/libAtoms/extxyz.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator
from typing import IO, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from assets.cell_records import Found, batches, wanted_columns
from assets.formulas import ELEMENTS
from assets.members import DAMAGED, damaged, members, unpacked
from assets.unit_cells import CellError, cell, fractional, lattice, species, vectors
from catalog.records import Snapshot

MAX_ATOMS = 1_000_000
MAX_LINE = 1 << 20

_PAIR = re.compile(r"""([A-Za-z_][\w.+-]*)\s*=\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\{[^}]*\}|\S+)|(\S+)""")


class Options(BaseModel):
    """Extended XYZ needs no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def read(snapshot: Snapshot, options: Options, columns: Collection[str]) -> pa.RecordBatchReader:  # noqa: ARG001
    """Stream a snapshot's frames as records; see ``assets.cell_records.batches``."""
    wanted, seen = wanted_columns(columns), set[str]()
    return batches(snapshot, _found(snapshot, wanted, seen), wanted, seen, "files named *.xyz or *.extxyz")


def _found(snapshot: Snapshot, wanted: list[str], seen: set[str]) -> Iterator[Found]:
    for member in members(snapshot, _is_xyz):
        try:
            yield from _frames(member.place, unpacked(member.stream), wanted, seen)
        except DAMAGED as error:
            raise damaged(member.place, error) from error


def _is_xyz(name: str) -> bool:
    return name.lower().removesuffix(".gz").endswith((".xyz", ".extxyz"))


def _frames(place: str, stream: IO[bytes], wanted: list[str], seen: set[str]) -> Iterator[Found]:
    for number in itertools.count(1):
        first = _line(stream)
        while first is not None and not first.strip():
            first = _line(stream)
        if first is None:
            return
        position = f"{place} frame {number}"
        count = int(first) if first.strip().isdecimal() and len(first.strip()) < 8 else 0
        if not 0 < count <= MAX_ATOMS:
            # Where the next frame begins cannot be known, so that this record stands for the rest of the file.
            raw = "\n".join(itertools.chain([first], itertools.islice(iter(lambda: _line(stream), None), 200)))
            yield Found(
                position,
                None,
                None,
                f"{first.strip()[:40]!r} is no number of atoms; the rest of the file is not read",
                raw,
            )
            return
        header = _line(stream) or ""
        lines = list(itertools.islice(iter(lambda: _line(stream), None), count))
        yield _frame(position, f"{place}#{number}", count, header, lines, wanted, seen)


def _line(stream: IO[bytes]) -> str | None:
    line = stream.readline(MAX_LINE)
    return line.decode("utf-8", errors="replace").rstrip("\r\n") if line else None


def _frame(
    position: str, record: str, count: int, header: str, lines: list[str], wanted: list[str], seen: set[str]
) -> Found:
    info = {key: _unquoted(value) for key, value, _ in _PAIR.findall(header) if key}
    seen.update(info)
    try:
        if len(lines) < count:
            raise CellError(f"{count} atoms are announced, and {len(lines)} are there: the file is cut short")
        found = _cell(info, lines)
    except CellError as error:
        return Found(position, None, None, str(error), "\n".join([str(count), header, *lines]))
    return Found(position, record, found, values={name: info.get(name) for name in wanted})


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value[:1] in "\"'{" else value


def _cell(info: dict[str, str], lines: list[str]) -> dict[str, Any]:
    keys = {key.lower(): value for key, value in info.items()}
    if "lattice" not in keys:
        raise CellError("the frame has no Lattice; only structures periodic in three directions have a row")
    periodic = re.findall(r"[TtFf01]\w*", keys.get("pbc", "T T T"))
    if any(word[0] in "Ff0" for word in periodic):
        raise CellError(f"pbc is {keys['pbc']!r}; only structures periodic in three directions have a row")
    numbers = _floats(keys["lattice"].replace(",", " ").replace("[", " ").replace("]", " ").split(), "Lattice")
    if len(numbers) != 9:
        raise CellError(f"Lattice holds {len(numbers)} numbers; expected 9")
    vectors_ = lattice([numbers[0:3], numbers[3:6], numbers[6:9]], "Lattice")
    symbol_at, position_at = _places(keys.get("properties", "species:S:1:pos:R:3"))
    names, cartesian = [], []
    for line in lines:
        words = line.split()
        if len(words) < max(symbol_at + 1, position_at + 3):
            raise CellError(f"the atom {line.strip()[:60]!r} has fewer values than Properties says")
        if words[symbol_at] not in ELEMENTS:
            raise CellError(f"{words[symbol_at]!r} is no element")
        names.append(words[symbol_at])
        cartesian.append(_floats(words[position_at : position_at + 3], "a position"))
    kinds = [species([(symbol, 1.0)], symbol) for symbol in dict.fromkeys(names)]
    return cell(vectors_, fractional(vectors(cartesian, "positions"), vectors_), names, kinds)


def _places(properties: str) -> tuple[int, int]:
    """In which column the element stands, and the first of the position."""
    parts = properties.split(":")
    places, column = {}, 0
    for name, _, width in zip(parts[::3], parts[1::3], parts[2::3], strict=False):
        places[name.lower()] = column
        column += int(width) if width.isdecimal() else 1
    if len(parts) % 3 or "pos" not in places or "species" not in places:
        raise CellError(f"Properties is {properties[:60]!r}; expected species:S:1 and pos:R:3 among them")
    return places["species"], places["pos"]


def _floats(words: list[str], what: str) -> list[float]:
    try:
        return [float(word) for word in words]
    except ValueError:
        raise CellError(f"{what} is {' '.join(words)[:60]!r}; expected numbers") from None
