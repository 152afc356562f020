"""The records of a core or an extension as batches of text columns, each record sound or with its first fault.

What the files are is ``assets.dwc_meta``'s concern, and which of them to read is the reader's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets import delimited_scan, dwc_meta
from assets.delimited import Block, Lines
from assets.delimited_records import Records
from assets.delimited_values import numbered
from assets.dwc_archive import Archive
from assets.dwc_meta import Described, Dialect
from assets.readers import SOURCE_FIELDS
from catalog.errors import SourceError


def records(
    archive: Archive, described: Described, wanted: list[str], *, keeps_raw: bool = False, may_be_empty: bool = False
) -> Iterator[pa.RecordBatch]:
    """The records of all files of a core or an extension: SOURCE_FIELDS, then the wanted columns.

    ``_source`` counts in each batch from 0. With ``keeps_raw`` every record has its ``_raw``.

    Raises:
        SourceError: a file is damaged, or empty unless it ``may_be_empty``.
    """
    for name in described.files:
        with archive.open(name) as stream:
            lines = Lines(stream, described.dialect)
            if lines.is_empty and not may_be_empty:
                raise SourceError(f"{name} of {archive.name} is empty", "ask the publisher for a whole archive")
            plan = _plan(described, archive.shown(name), lines.skip(described.dialect.header_lines), wanted)
            for block in lines.blocks(plan.slots, plan.wanted):
                if plan.width == 0:
                    plan = plan._replace(width=max(described.width, int(block.scan.counts[0])))
                yield _Records(block, plan, lines.encoding).batch(keeps_raw=keeps_raw)


class _Column(NamedTuple):
    """Where a column's values come from: a slot of the scan (or None), and what stands in for an empty value."""

    name: str
    slot: int | None
    default: str | None


class _Plan(NamedTuple):
    """What to take from each record of one file; ``width`` is 0 until its first record tells."""

    file: str
    dialect: Dialect
    columns: tuple[_Column, ...]
    slots: np.ndarray
    wanted: int
    identity: int | None
    width: int
    names: tuple[str, ...]


def _plan(described: Described, file: str, header: str, wanted: list[str]) -> _Plan:
    fields = {name: described.field(name) for name in wanted}
    indexes = [described.identity, *(field.index for field in fields.values() if field)]
    order = sorted({index for index in indexes if index is not None})
    slots = np.full(max(order, default=-1) + 1, -1, dtype=np.int64)
    slots[order] = np.arange(len(order))
    columns = tuple(
        _Column(name, None if field.index is None else int(slots[field.index]), field.default)
        for name, field in fields.items()
        if field
    )
    names = {field.index: field.name for field in described.fields}
    return _Plan(
        file,
        described.dialect,
        columns,
        slots,
        len(order),
        None if described.identity is None else int(slots[described.identity]),
        _width(described, file, header),
        tuple(names.get(index, "") for index in range(described.width)),
    )


def _width(described: Described, file: str, header: str) -> int:
    """How many fields a record has: as its header line, else 0 for as its first record."""
    cells = dwc_meta.cells(header, described.dialect)
    if len(cells) >= described.width:
        return len(cells)
    known = {field.name.lower() for field in described.fields}
    if any(dwc_meta.local(cell).lower() in known for cell in cells):
        raise SourceError(
            f"meta.xml gives {file} {described.width} columns, but its header line has {len(cells)}",
            "ask the publisher for a sound archive, or mend meta.xml",
        )
    return 0


class _Records:
    """The records of one block, each sound or with the first fault found in it."""

    def __init__(self, block: Block, plan: _Plan, encoding: str) -> None:
        self.plan = plan
        self.checked = Records(block, plan.dialect, encoding, plan.width, plan.names)

    def batch(self, *, keeps_raw: bool) -> pa.RecordBatch:
        """The columns, null in the records at fault."""
        checked, rows = self.checked, self.checked.rows
        quote = ord(self.plan.dialect.quote) if self.plan.dialect.quote else -1
        found = delimited_scan.strings(checked.block.text, checked.scan, quote)
        columns = {column.name: self._column(column, found) for column in self.plan.columns}
        slot = self.plan.identity
        record = pa.nulls(rows, pa.string()) if slot is None else found[slot]
        if checked.faults:
            sound = np.ones(rows, dtype=np.bool_)
            sound[list(checked.faults)] = False
            columns = {name: pc.if_else(pa.array(sound), column, None) for name, column in columns.items()}
            record = pc.if_else(pa.array(checked.scan.counts == self.plan.width), record, None)
        position = numbered(f"{self.plan.file} line ", checked.lines())
        fixed = [pa.array(np.arange(rows)), position, record, checked.errors(), checked.raws(of_all=keeps_raw)]
        schema = pa.schema([*SOURCE_FIELDS, *((name, pa.string()) for name in columns)])
        return pa.record_batch([*fixed, *columns.values()], schema=schema)

    def _column(self, column: _Column, found: list[pa.StringArray]) -> pa.Array:
        if column.slot is None:
            return pa.repeat(pa.scalar(column.default, pa.string()), self.checked.rows)
        values = found[column.slot]
        return values if column.default is None else pc.fill_null(values, column.default)
