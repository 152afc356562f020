"""CIF (Crystallographic Information File), core dictionary: one source record per data block.

A snapshot is one CIF, a folder of them, or a zip or tar archive of them; ``.gz`` files and members are unpacked in
memory. Archive members are streamed and never written to disk, so their names cannot reach outside of anything.

Source columns are the core dictionary's data names in lower case without the leading underscore
(``cell_length_a``); a dot in a name counts as an underscore, which makes the dotted names of newer files the same
columns. Numbers lose their standard uncertainty (``3.475(1)`` is 3.475); ``?`` and ``.`` are null. A name that the
file gives as a loop is the loop's values joined by ``; ``.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa
from gemmi import cif
from pydantic import BaseModel, ConfigDict

from assets.members import DAMAGED, damaged, members
from assets.readers import SOURCE_FIELDS
from catalog.errors import HarmoniseError, SourceError
from catalog.records import Snapshot

BATCH = 64
MAX_RAW = 64 * 1024
MAX_TEXT = 256 * 1024 * 1024

NUMBERS = frozenset(
    [
        "cell_length_a", "cell_length_b", "cell_length_c", "cell_angle_alpha", "cell_angle_beta",
        "cell_angle_gamma", "cell_volume", "cell_formula_units_z", "cell_measurement_temperature",
        "cell_measurement_pressure", "chemical_formula_weight", "chemical_melting_point",
        "diffrn_ambient_pressure", "diffrn_ambient_temperature", "diffrn_radiation_wavelength",
        "exptl_crystal_density_diffrn", "exptl_crystal_density_meas", "exptl_crystal_f_000",
        "journal_year", "refine_ls_r_factor_all", "refine_ls_r_factor_gt",
        "refine_ls_wr_factor_ref", "refine_ls_goodness_of_fit_ref", "cod_original_cell_volume",
    ]
)  # fmt: skip
"""Data names that the core dictionary (and COD's own) define as numbers; all others are text."""

TEXTS = frozenset(
    [
        "cod_database_code", "database_code_amcsd", "amcsd_database_code", "chemical_formula_sum",
        "chemical_formula_moiety", "chemical_formula_structural", "chemical_name_mineral",
        "chemical_name_common", "chemical_name_systematic", "chemical_compound_source",
        "diffrn_radiation_type", "diffrn_radiation_probe", "exptl_method", "journal_name_full",
        "journal_volume", "journal_issue", "journal_page_first", "journal_page_last",
        "journal_paper_doi", "publ_author_name", "publ_section_title", "audit_creation_date",
        "audit_update_record", "symmetry_cell_setting", "space_group_crystal_system",
    ]
)  # fmt: skip
"""Text data names that a mapping may ask for although no file of the snapshot has them."""

CELL = (
    "cell_length_a", "cell_length_b", "cell_length_c", "cell_angle_alpha", "cell_angle_beta", "cell_angle_gamma",
)  # fmt: skip
ALIASES = {
    "space_group_name_h-m": ("space_group_name_h-m_alt", "symmetry_space_group_name_h-m", "space_group_name_h-m_full"),
    "space_group_it_number": ("symmetry_int_tables_number",),
    "space_group_name_hall": ("symmetry_space_group_name_hall",),
    "symmetry_operations": ("space_group_symop_operation_xyz", "symmetry_equiv_pos_as_xyz"),
    "cod_database_code": ("database_code_cod",),
}
"""Older or longer spellings under which the same item is found."""

ATOMS = {
    "atom_site_label": pa.string(),
    "atom_site_type_symbol": pa.string(),
    "atom_site_fract_x": pa.float64(),
    "atom_site_fract_y": pa.float64(),
    "atom_site_fract_z": pa.float64(),
    "atom_site_occupancy": pa.float64(),
    "atom_site_disorder_assembly": pa.string(),
    "atom_site_disorder_group": pa.string(),
}
STRUCTURE: dict[str, pa.DataType] = {
    "block": pa.string(),
    **dict.fromkeys(CELL, pa.float64()),
    "cell_volume": pa.float64(),
    "chemical_formula_sum": pa.string(),
    "space_group_name_h-m": pa.string(),
    "space_group_it_number": pa.int32(),
    "space_group_name_hall": pa.string(),
    "symmetry_operations": pa.list_(pa.string()),
    **{name: pa.list_(kind) for name, kind in ATOMS.items()},
}
"""What every batch has after SOURCE_FIELDS, whatever the mapping asks for; ``atom_site_*`` are parallel lists."""

Items = dict[str, str | list[str]]


class Options(BaseModel):
    """CIF needs no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Text(NamedTuple):
    """One CIF file: where it stands, and its bytes or why they cannot be had."""

    place: str
    content: bytes
    problem: str = ""


class BlockError(Exception):
    """One data block cannot be read; the text says why."""


def read(snapshot: Snapshot, options: Options, columns: Collection[str]) -> pa.RecordBatchReader:  # noqa: ARG001
    """Stream a snapshot's data blocks as records, 64 to a batch.

    Args:
        snapshot: one file, one archive, or a folder of files.
        options: none.
        columns: data names that the mapping wants besides those of the structure itself.

    Raises:
        SourceError: the snapshot holds no CIF, or an archive is broken (also while iterating).
        HarmoniseError: at the end of the stream, if a wanted data name was in none of its blocks and looks like a
            misspelling of one that exists. (Any data name may be absent from any block: it is null there.)
    """
    wanted = sorted({name.lower() for name in columns} - set(STRUCTURE) - {field.name for field in SOURCE_FIELDS})
    schema = pa.schema(
        [
            *SOURCE_FIELDS,
            *(pa.field(name, kind) for name, kind in STRUCTURE.items()),
            *(pa.field(name, pa.float64() if name in NUMBERS else pa.string()) for name in wanted),
        ]
    )
    return pa.RecordBatchReader.from_batches(schema, _batches(snapshot, schema, wanted))


def _batches(snapshot: Snapshot, schema: pa.Schema, wanted: list[str]) -> Iterator[pa.RecordBatch]:
    seen: set[str] = set()
    rows = _records(snapshot, wanted, seen)
    number = 0
    while batch := list(islice(rows, BATCH)):
        for row in batch:
            row["_source"], number = number, number + 1
        yield pa.RecordBatch.from_pylist(batch, schema=schema)
    if not number:
        raise SourceError(
            f"{snapshot.uri} holds no CIF", "expected files named *.cif, *.cif.gz or *.mcif, or a zip or tar of them"
        )
    _refuse_misspelt(snapshot, set(wanted) - seen - NUMBERS - TEXTS, seen)


def _refuse_misspelt(snapshot: Snapshot, missing: set[str], seen: set[str]) -> None:
    for name in sorted(missing):
        meant = get_close_matches(name, sorted(seen | NUMBERS | TEXTS), n=1, cutoff=0.92)
        if meant:
            raise HarmoniseError(
                f"no data block of {snapshot.uri} has _{name}; did you mean {meant[0]!r}?",
                f"the data names there are: {', '.join(sorted(seen))}",
            )


def _records(snapshot: Snapshot, wanted: list[str], seen: set[str]) -> Iterator[dict[str, Any]]:
    for member in members(snapshot, _is_cif):
        try:
            text = _text(member.place, member.stream.read(MAX_TEXT + 1))
        except DAMAGED as error:
            raise damaged(member.place, error) from error
        if member.is_source:
            _refuse_foreign(text)
        yield from _blocks(text, wanted, seen)


def _refuse_foreign(text: Text) -> None:
    """A snapshot of one file that is no CIF at all is a wrong source, not a bad record."""
    if text.problem or not text.content.strip():
        raise SourceError(f"{text.place}: {text.problem or 'the file is empty'}", "fetch it again")
    if not re.search(rb"(?im)^\s*data_", text.content):
        raise SourceError(f"{text.place} is not a CIF: no line begins with data_", "check source.uri and source.format")


def _is_cif(name: str) -> bool:
    return name.lower().endswith((".cif", ".cif.gz", ".mcif"))


def _text(place: str, content: bytes) -> Text:
    if content.startswith(b"\x1f\x8b"):
        unpacker = zlib.decompressobj(wbits=31)
        try:
            content = unpacker.decompress(content, MAX_TEXT + 1)
        except zlib.error as error:
            return Text(place, b"", f"the gzip file is damaged: {error}")
        if not unpacker.eof and len(content) <= MAX_TEXT:
            return Text(place, content, "the gzip file is cut short")
    if len(content) > MAX_TEXT:
        return Text(place, content[:MAX_RAW], f"the file is larger than {MAX_TEXT >> 20} MB")
    return Text(place, content)


def _blocks(text: Text, wanted: list[str], seen: set[str]) -> Iterator[dict[str, Any]]:
    """One record per data block, or a single one that says why the file cannot be read."""
    words = _decode(text.content)
    if text.problem or not words.strip():
        yield _failure(text.place, text.problem or "the file is empty", words)
        return
    try:
        document = cif.read_string(words)
    except (ValueError, RuntimeError) as error:
        yield _failure(text.place, f"not valid CIF: {_gemmi_message(error)}", words)
        return
    if len(document) == 0:
        yield _failure(text.place, "the file has no data block", words)
    for block in document:
        items = _items(block)
        seen.update(items)
        position = f"{text.place} data_{block.name}"
        record = _scalar(items, "cod_database_code") or _block_identifier(block.name)
        try:
            yield {"_position": position, "_record": record, **_row(block.name, items, wanted)}
        except BlockError as error:
            yield _failure(position, str(error), block.as_string(), record)


def _block_identifier(name: str) -> str | None:
    """A block's name, unless it is the one that many programs write into every file."""
    return name if name.strip() and name.lower() != "global" else None


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _gemmi_message(error: Exception) -> str:
    """``string:82:3(2229): parse error`` is about line 82, column 3."""
    found = re.match(r"string:(\d+):(\d+)\(\d+\): (.*)", str(error), re.DOTALL)
    return f"line {found[1]}, column {found[2]}: {found[3]}" if found else str(error)


def _failure(position: str, problem: str, raw: str, record: str | None = None) -> dict[str, Any]:
    raw = raw.encode()[:MAX_RAW].decode(errors="ignore")
    return {"_position": position, "_record": record, "_error": problem, "_raw": raw}


def _items(block: cif.Block) -> Items:
    """All data names of one block in lower case, with raw values (a loop's as a list)."""
    found: Items = {}
    for item in block:
        pair: Any = item.pair  # gemmi's stubs say object
        if pair is not None:
            found[_name(pair[0])] = pair[1]
        elif item.loop is not None:
            width, values = item.loop.width(), item.loop.values
            for index, tag in enumerate(item.loop.tags):
                found[_name(tag)] = values[index::width]
    for name, spellings in ALIASES.items():
        spelt = next((spelling for spelling in (name, *spellings) if _given(found.get(spelling))), None)
        if spelt is not None:
            found[name] = found[spelt]
    return found


def _name(tag: str) -> str:
    return tag[1:].lower().replace(".", "_")


def _given(value: str | list[str] | None) -> bool:
    return value is not None and (not isinstance(value, str) or not cif.is_null(value))


def _row(block: str, items: Items, wanted: Iterable[str]) -> dict[str, Any]:
    """The columns of one data block. Raises BlockError."""
    row: dict[str, Any] = {"block": block}
    for name in CELL:
        row[name] = _number(items, name)
        if row[name] is None:
            raise BlockError(f"the data block gives no _{name}")
    it_number = _number(items, "space_group_it_number")
    row["space_group_it_number"] = round(it_number) if it_number is not None and 1 <= it_number <= 230 else None
    for name in ("chemical_formula_sum", "space_group_name_h-m", "space_group_name_hall"):
        row[name] = _scalar(items, name)
    operations = items.get("symmetry_operations", [])
    row["symmetry_operations"] = [
        cif.as_string(value) for value in ([operations] if isinstance(operations, str) else operations)
    ]
    row["cell_volume"] = _number(items, "cell_volume")
    row.update(_atoms(items))
    row.update({name: _number(items, name) if name in NUMBERS else _scalar(items, name) for name in wanted})
    return row


def _scalar(items: Items, name: str) -> str | None:
    value = items.get(name)
    if value is None:
        return None
    values = [cif.as_string(part).strip() for part in ([value] if isinstance(value, str) else value)]
    return "; ".join(part for part in values if part) or None


def _number(items: Items, name: str) -> float | None:
    value = items.get(name)
    if isinstance(value, list):
        value = value[0] if value else None
    return None if value is None else _as_number(name, value)


def _as_number(name: str, value: str) -> float | None:
    if cif.is_null(value):
        return None
    number: float = cif.as_number(cif.as_string(value))
    if not math.isfinite(number):
        raise BlockError(f"_{name} is {cif.as_string(value)!r}; expected a number")
    return number


def _atoms(items: Items) -> dict[str, list[Any]]:
    """The atom_site loop as parallel lists. Raises BlockError."""
    for name in ("atom_site_fract_x", "atom_site_fract_y", "atom_site_fract_z"):
        if all(cif.is_null(value) for value in _values(items, name)):
            raise BlockError(f"the data block has no atom with a position: _{name} is missing or all unknown")
    count = len(_values(items, "atom_site_fract_x"))
    atoms: dict[str, list[Any]] = {}
    for name, kind in ATOMS.items():
        values = _values(items, name) or ["?"] * count
        if len(values) != count:
            raise BlockError(f"_{name} has {len(values)} values; expected {count} as in _atom_site_fract_x")
        if kind == pa.float64():
            atoms[name] = [_as_number(name, value) for value in values]
        else:
            atoms[name] = [None if cif.is_null(value) else cif.as_string(value) for value in values]
    return atoms


def _values(items: Items, name: str) -> list[str]:
    value = items.get(name, [])
    return [value] if isinstance(value, str) else value
