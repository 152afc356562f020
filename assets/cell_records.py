"""The batches of a reader of unit cells: its records one after the other, and what becomes of a faulty one."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa

from assets.readers import SOURCE_FIELDS
from assets.unit_cells import UNIT_CELL
from catalog.errors import HarmoniseError, SourceError
from catalog.records import Snapshot

BATCH = 64
MAX_RAW = 64 * 1024


class Found(NamedTuple):
    """One record: where it stands, its identifier, its unit cell or why it has none, its text then, other values."""

    position: str
    record: str | None
    cell: Mapping[str, Any] | None
    problem: str = ""
    raw: str = ""
    values: Mapping[str, str | None] = {}


def wanted_columns(columns: Collection[str]) -> list[str]:
    """The columns that a mapping wants besides those that every unit cell has."""
    return sorted(set(columns) - set(UNIT_CELL) - {field.name for field in SOURCE_FIELDS})


def batches(
    snapshot: Snapshot, found: Iterator[Found], wanted: list[str], seen: Collection[str], expected: str
) -> pa.RecordBatchReader:
    """SOURCE_FIELDS, UNIT_CELL and the wanted columns as text, 64 rows to a batch.

    Args:
        snapshot: what is read.
        found: its records.
        wanted: further columns, each a key of ``Found.values``.
        seen: the names that the records were found to have, complete when ``found`` is exhausted.
        expected: what the source should have held, for the error if there is no record.

    Raises:
        SourceError: there is no record (while iterating).
        HarmoniseError: at the end, if a wanted name is in no record and looks like a misspelling of one that is.
    """
    fields = [pa.field(name, kind) for name, kind in UNIT_CELL.items()]
    schema = pa.schema([*SOURCE_FIELDS, *fields, *(pa.field(name, pa.string()) for name in wanted)])
    return pa.RecordBatchReader.from_batches(schema, _batches(snapshot, found, schema, seen, expected))


def _batches(
    snapshot: Snapshot, found: Iterator[Found], schema: pa.Schema, seen: Collection[str], expected: str
) -> Iterator[pa.RecordBatch]:
    number = 0
    wanted = schema.names[len(SOURCE_FIELDS) + len(UNIT_CELL) :]
    while some := list(islice(found, BATCH)):
        rows = [_row(record, number + index) for index, record in enumerate(some)]
        number += len(rows)
        yield _batch(rows, schema)
    if not number:
        raise SourceError(f"{snapshot.uri} holds no structure", f"expected {expected}")
    for name in wanted:
        meant = [] if name in seen or not seen else get_close_matches(name, sorted(seen), n=1, cutoff=0.92)
        if meant:
            raise HarmoniseError(
                f"no record of {snapshot.uri} has {name!r}; did you mean {meant[0]!r}?",
                f"the names there are: {', '.join(sorted(seen))}",
            )


def _batch(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """The rows as a batch. One that holds what its columns cannot (a text for a mass, half a character) says so."""
    try:
        return pa.RecordBatch.from_pylist(rows, schema=schema)
    except _MISFITS as error:
        if len(rows) == 1:
            return pa.RecordBatch.from_pylist([_misfit(rows[0], error)], schema=schema)
    whole = pa.Table.from_batches([_batch([row], schema) for row in rows]).combine_chunks()
    return whole.to_batches()[0]


_MISFITS = (pa.ArrowException, ValueError, TypeError, OverflowError)


def _misfit(row: dict[str, Any], error: Exception) -> dict[str, Any]:
    place = {name: row[name] for name in ("_source", "_position")}
    said = str(error).splitlines()[0].encode(errors="replace").decode()
    raw = repr(row).encode(errors="replace")[:MAX_RAW].decode(errors="ignore")
    return {**place, "_error": f"the record holds a value of another type than it should: {said}", "_raw": raw}


def _row(found: Found, number: int) -> dict[str, Any]:
    row = {"_source": number, "_position": found.position, "_record": found.record}
    if found.cell is None:
        raw = found.raw.encode(errors="replace")[:MAX_RAW].decode(errors="ignore")
        return {**row, "_error": found.problem, "_raw": raw}
    return {**row, **found.values, **found.cell}


def group_number(value: Any) -> int | None:
    """A declared space group number, or None for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 230 else None


def volume(value: Any) -> float | None:
    """A declared volume in angstrom^3, or None for what is none."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    return float(value) if good else None
