"""The data blocks of CIF texts as records: names in one spelling, numbers without their uncertainty, atoms as lists.

Runs in processes of its own (``assets.isolated``): what the parser does with a text concerns that text only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa
from gemmi import cif

from assets.cif_repairs import decoded, document
from assets.readers import SOURCE_FIELDS

MAX_RAW = 64 * 1024

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
    "file_name": pa.string(),
    "block": pa.string(),
    **dict.fromkeys(CELL, pa.float64()),
    "cell_volume": pa.float64(),
    "chemical_formula_sum": pa.string(),
    "space_group_name_h-m": pa.string(),
    "space_group_it_number": pa.int32(),
    "space_group_name_hall": pa.string(),
    "symmetry_operations": pa.list_(pa.string()),
    **{name: pa.list_(kind) for name, kind in ATOMS.items()},
    "repairs": pa.list_(pa.string()),
}
"""What every batch has after SOURCE_FIELDS, whatever the mapping asks for; ``atom_site_*`` are parallel lists."""


class Text(NamedTuple):
    """One CIF text: where it stands, and its bytes or why they cannot be had.

    ``record`` and ``values`` are what stands beside it, where it is a value in a table.
    """

    place: str
    content: bytes
    problem: str = ""
    record: str | None = None
    values: tuple[str | None, ...] = ()
    file_name: str | None = None


class Wanted(NamedTuple):
    """What is wanted of a text: further data names, and the columns that ``Text.values`` are."""

    names: tuple[str, ...]
    beside: tuple[str, ...]


def schema(wanted: Wanted) -> pa.Schema:
    """The columns of a batch: SOURCE_FIELDS, STRUCTURE, and what else is wanted."""
    return pa.schema(
        [
            *SOURCE_FIELDS,
            *(pa.field(name, kind) for name, kind in STRUCTURE.items()),
            *(pa.field(name, pa.float64() if name in NUMBERS else pa.string()) for name in wanted.names),
            *(pa.field(name, pa.string()) for name in wanted.beside),
        ]
    )


class BlockError(Exception):
    """One data block cannot be read; the text says why."""


class Read(NamedTuple):
    """The records of some texts, numbered from 0, and all data names that were seen."""

    batch: pa.RecordBatch
    seen: frozenset[str]


def read_texts(texts: list[tuple[Text, Wanted]]) -> Read:
    """One record per data block of each text, or a single one that says why the text cannot be read."""
    seen: set[str] = set()
    rows = []
    for text, wanted in texts:
        beside = dict(zip(wanted.beside, text.values, strict=True))
        rows += [{**beside, "file_name": text.file_name, **row} for row in _blocks(text, wanted.names, seen)]
    rows = [{**row, "_source": number} for number, row in enumerate(rows)]
    return Read(pa.RecordBatch.from_pylist(rows, schema=schema(texts[0][1])), frozenset(seen))


def lost(text: Text, wanted: Wanted, reason: str) -> Read:
    """The record of a text that the parser did not survive."""
    words, _ = decoded(text.content[:MAX_RAW])
    row = failure(text.place, f"the text cannot be parsed: {reason}", words, text.record)
    beside = dict(zip(wanted.beside, text.values, strict=True))
    return Read(pa.RecordBatch.from_pylist([{**beside, **row, "_source": 0}], schema=schema(wanted)), frozenset())


Items = dict[str, str | list[str]]


def _blocks(text: Text, wanted: tuple[str, ...], seen: set[str]) -> Iterator[dict[str, Any]]:
    """One record per data block, or a single one that says why the file cannot be read."""
    blocks, repairs, unread = opened(text, "CIF")
    if unread is not None:
        yield unread
    for block in blocks:
        items = _items(block)
        seen.update(items)
        position = f"{text.place} data_{block.name}"
        record = text.record or _scalar(items, "cod_database_code") or _block_identifier(block.name)
        try:
            row = _row(block.name, items, wanted)
            yield {"_position": position, "_record": record, "repairs": repairs, **row}
        except BlockError as error:
            yield failure(position, str(error), block.as_string(), record)


def opened(text: Text, form: str) -> tuple[cif.Document, list[str], dict[str, Any] | None]:
    """The data blocks of a text and the rules by which it was repaired; and if it has none, the record that says why.

    Args:
        text: what is read.
        form: what it should be, for the words of that record.
    """
    words, repairs = decoded(text.content)
    problem = text.problem or ("" if words.strip() else "the text is empty")
    found = cif.Document()
    if not problem:
        try:
            found, more = document(words)
            repairs = [*repairs, *more]
            problem = "" if len(found) else "the file has no data block"
        except ValueError as error:
            problem = f"not valid {form}: {_gemmi_message(error)}"
    unread = failure(text.place, problem, words, text.record) if problem else None
    return found, repairs, unread


def _block_identifier(name: str) -> str | None:
    """A block's name, unless it is the one that many programs write into every file."""
    return name if name.strip() and name.lower() != "global" else None


def _gemmi_message(error: Exception) -> str:
    """Gemmi's words: ``string:82:3(2229): parse error`` is about line 82, column 3."""
    found = re.match(r"string:(\d+):(\d+)\(\d+\): (.*)", str(error), re.DOTALL)
    return f"line {found[1]}, column {found[2]}: {found[3]}" if found else str(error)


def failure(position: str, problem: str, raw: str, record: str | None = None) -> dict[str, Any]:
    """The record that stands for what cannot be read, and why."""
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
    _refuse_other_symmetry(items)
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


_OTHER_SYMMETRY = {
    "a magnetic structure": re.compile("space_group_magn|atom_site_moment|space_group_symop_magn"),
    "an incommensurate structure": re.compile(
        "space_group_ssg|cell_wave_vector|cell_modulation_dimension|cell_subsystem"
    ),
}


def _refuse_other_symmetry(items: Items) -> None:
    for what, pattern in _OTHER_SYMMETRY.items():
        name = next((name for name in items if pattern.match(name) and not _is_zero(items[name])), None)
        if name is not None:
            raise BlockError(f"_{name} says that this is {what}, whose symmetry is none of the 230 space groups")


def _is_zero(value: str | list[str]) -> bool:
    return value in ("0", "?", ".")


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
        values = _values(items, name) or ["."] * count
        if len(values) != count:
            raise BlockError(f"_{name} has {len(values)} values; expected {count} as in _atom_site_fract_x")
        if name == "atom_site_occupancy" and "?" in values:
            # A full stop stands for the dictionary's default, which is 1; a question mark says that nobody knows.
            raise BlockError(f"_{name} of atom {values.index('?') + 1} is unknown (?); expected a number, or . for 1")
        if kind == pa.float64():
            atoms[name] = [_as_number(name, value) for value in values]
        else:
            atoms[name] = [None if cif.is_null(value) else cif.as_string(value) for value in values]
    return atoms


def _values(items: Items, name: str) -> list[str]:
    value = items.get(name, [])
    return [value] if isinstance(value, str) else value
