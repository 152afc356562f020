"""Whether rows come in a table's order, where they do not, and how many repeat a key: seen as they stream by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from catalog.table import Table

Array = np.ndarray[Any, Any]

WINDOW = 1024
"""So many rows are held back, in case one that follows belongs before them."""

FARTHEST = 64
"""Rows that share the sort columns are compared with so many that follow; where there are more, repeats are unknown."""


class RowOrder:
    """Compares each row with the one before it, across batches.

    ``repeats`` counts the rows whose key an earlier row has, among rows in order. It is None where that cannot be
    told: where the key does not hold the sort columns, so that rows of one key need not be neighbours, or where too
    many rows share the sort columns.
    """

    def __init__(self, table: Table) -> None:
        self._sort = list(table.sort)
        self._rest = [name for name in table.key if name not in table.sort]
        self.repeats: int | None = 0 if set(table.sort) <= set(table.key) else None
        self._before: pa.Table | None = None

    def see(self, batch: pa.RecordBatch) -> list[int]:
        """The rows of a batch where a run in order must end: what precedes them belongs after them; nulls belong last.

        A run also ends where a text of few values (one that comes encoded by a dictionary) changes that others are
        sorted below: chromosomes 1, 2, ..., 10 are each in order, wherever 10 belongs.
        """
        names = self._sort if self.repeats is None else [*self._sort, *self._rest]
        rows = pa.Table.from_batches([batch.select(names)])
        carried = 0
        if self._before is not None:
            carried = self._before.num_rows
            rows = pa.concat_tables([self._before.select(names), rows], promote_options="permissive")
        columns = [_comparable(rows[name]) for name in self._sort]
        less, same = _neighbours(columns)
        cut = less
        for name, values in zip(self._sort[:-1], columns, strict=False):
            if pa.types.is_dictionary(rows[name].type):
                cut = cut | ~_equal(values[1:], values[:-1])
        if self.repeats is not None:
            self._count_repeats(rows, same, carried)
        self._keep_tail(rows, same)
        return [int(row) + 1 - carried for row in np.flatnonzero(cut)]

    def _count_repeats(self, rows: pa.Table, same: Array, carried: int) -> None:
        rest = [_comparable(rows[name]) for name in self._rest]
        repeated = np.zeros(rows.num_rows, dtype=np.bool_)
        near = same
        for distance in range(1, FARTHEST + 1):
            if not near.any():
                break
            hit = near
            for values in rest:
                hit = hit & _equal(values[distance:], values[:-distance])
                if not hit.any():
                    break
            repeated[distance:] |= hit
            near = near[:-1] & same[distance:]
        else:
            self.repeats = None
            return
        assert self.repeats is not None
        self.repeats += int(repeated[carried:].sum())

    def _keep_tail(self, rows: pa.Table, same: Array) -> None:
        """Carry over the last row, and those before it that share its sort columns."""
        different = np.flatnonzero(~same)
        first = int(different[-1]) + 1 if len(different) else 0
        if self.repeats is None:
            first = rows.num_rows - 1
        self._before = rows.slice(max(first, rows.num_rows - 2 * FARTHEST)).combine_chunks()


def straightened(batches: Iterable[pa.RecordBatch], table: Table) -> Iterator[pa.RecordBatch]:
    """The same rows, those that come a little too late where they belong: trimming moves alleles past their neighbours.

    This is so within runs of the same leading sort columns. What comes later than by WINDOW rows stays where it is.
    """
    held: pa.RecordBatch | None = None
    for batch in batches:
        if held is not None and (batch.num_rows < WINDOW or _joins(held, batch, table)):
            batch = pa.concat_batches([held.cast(batch.schema), batch])
        elif held is not None:
            yield held
        order = _permutation(batch, table)
        if order is not None:
            batch = batch.take(order)
        ready = max(0, batch.num_rows - WINDOW)
        if ready:
            yield batch.slice(0, ready)
        held = batch.slice(ready)
    if held is not None:
        yield held


def _joins(held: pa.RecordBatch, batch: pa.RecordBatch, table: Table) -> bool:
    """Whether rows of a batch may belong before rows that are held back."""
    if not held.num_rows or not batch.num_rows:
        return False
    leading, (first, *others) = _leading(batch, table)
    if any(held[name][-1].as_py() != batch[name][0].as_py() for name in leading):
        return False
    here, before = batch[first].slice(0, WINDOW).drop_null(), held[first][-1].as_py()
    if pa.types.is_dictionary(here.type):
        here = here.dictionary_decode()
    earliest = pc.min(here).as_py()
    return before is None or (earliest is not None and (earliest < before or (bool(others) and earliest == before)))


def _leading(batch: pa.RecordBatch, table: Table) -> tuple[list[str], list[str]]:
    """The sort columns that come encoded before any other, within which rows are put in order, and those others."""
    coded = [pa.types.is_dictionary(batch.schema.field(name).type) for name in table.sort[:-1]]
    number = coded.index(False) if False in coded else len(coded)
    return list(table.sort[:number]), list(table.sort[number:])


def _permutation(batch: pa.RecordBatch, table: Table) -> pa.Array | None:
    """The order of rows within runs of the same leading sort columns; None where they are in it."""
    rows = pa.Table.from_batches([batch.select(table.sort)])
    leading, others = ([_comparable(rows[name]) for name in names] for names in _leading(batch, table))
    if not all(isinstance(values, np.ndarray) for values in others):
        return None
    same = _neighbours(leading)[1] if leading else np.ones(batch.num_rows - 1, dtype=np.bool_)
    late = _neighbours(others)[0]
    if not (late & same).any():
        return None
    runs = np.concatenate([[0], np.cumsum(~same)])
    return pa.array(np.lexsort((*reversed(others), runs)))


def _comparable(column: pa.ChunkedArray) -> Any:
    """A column's values as numbers where that is cheap, else as a polars series; a null is more than any value."""
    if pa.types.is_dictionary(column.type):
        return _ranks(column)
    if pa.types.is_integer(column.type) and column.null_count == 0:
        return column.to_numpy()
    series = pl.from_arrow(column)
    assert isinstance(series, pl.Series)
    return series


def _ranks(column: pa.ChunkedArray) -> Array:
    chunks = column.unify_dictionaries().chunks
    values = chunks[0].dictionary.to_pylist() if chunks else []
    ranks = np.empty(len(values) + 1, dtype=np.int64)
    ranks[np.array(sorted(range(len(values)), key=values.__getitem__), dtype=np.int64)] = np.arange(len(values))
    ranks[-1] = len(values)
    return np.concatenate([ranks[chunk.indices.fill_null(len(values)).to_numpy()] for chunk in chunks])


def _neighbours(columns: list[Any]) -> tuple[Array, Array]:
    """For each row but the first: whether it belongs before the one that precedes it, and whether both are the same."""
    length = len(columns[0]) - 1
    less, same = np.zeros(length, dtype=np.bool_), np.ones(length, dtype=np.bool_)
    for values in columns:
        here, before = values[1:], values[:-1]
        less |= same & _less(here, before)
        same &= _equal(here, before)
    return less, same


def _less(here: Any, before: Any) -> Array:
    if isinstance(here, pl.Series):
        known = (here < before).fill_null(False) | (before.is_null() & here.is_not_null())
        return np.asarray(known.to_numpy())
    return np.asarray(here < before)


def _equal(here: Any, before: Any) -> Array:
    if isinstance(here, pl.Series):
        return np.asarray(here.eq_missing(before).to_numpy())
    return np.asarray(here == before)
