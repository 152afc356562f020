"""Parquet files in a table's schema and order: bounded row groups, bounded files, sorted out of core."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalog.records import RowTerms
from catalog.sql_types import literal
from catalog.table import Table

ROW_GROUP_ROWS = 122_880
ROW_GROUP_BYTES = 32 << 20
FILE_BYTES = 512 << 20
SAMPLED = 20_000
SORT_MEMORY = "192MB"
SORT_THREADS = 1


class ParquetFile:
    """One Parquet file in a table's schema, with row groups of bounded rows and bytes."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._sink = pa.OSFile(str(path), "wb")
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = self._waiting_bytes = 0

    @property
    def bytes(self) -> int:
        """How large the file is so far."""
        return int(self._sink.tell())

    def __enter__(self) -> ParquetFile:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._sink:
            if kind is None:
                self._flush()
                self._opened(self._schema.empty_table()).close()
            elif self._writer is not None:
                self._writer.is_open = False  # closing it, as it does when it is collected, would write

    def write(self, batch: pa.RecordBatch) -> None:
        """Add a batch; a row group is written when enough has come together."""
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        self._waiting_bytes += batch.nbytes
        if self._waiting_rows >= ROW_GROUP_ROWS or self._waiting_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            rows = pa.Table.from_batches(self._waiting)
            if not rows.schema.equals(self._schema, check_metadata=True):
                rows = rows.cast(self._schema)
            self._opened(rows).write_table(rows, row_group_size=ROW_GROUP_ROWS)
            self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0

    def _opened(self, rows: pa.Table) -> pq.ParquetWriter:
        """The writer, whose encodings are chosen by the first rows."""
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._sink,
                self._schema,
                compression="zstd",
                use_dictionary=_repeating(rows.slice(0, SAMPLED)),
                write_page_index=True,
            )
        return self._writer


def _repeating(rows: pa.Table) -> list[str]:
    """The Parquet columns that are worth a dictionary. One of identifiers is not: that would be the column again."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows.schema.empty_table(), sink)
    columns = pq.read_metadata(pa.BufferReader(sink.getvalue())).schema
    paths = [columns.column(index).path for index in range(len(columns))]
    unique = {name for name in rows.schema.names if _is_unique(rows[name])}
    return [path for path in paths if path not in unique]


def _is_unique(column: pa.ChunkedArray) -> bool:
    given = len(column) - column.null_count
    if pa.types.is_nested(column.type) or not given:
        return False
    return bool(2 * pc.count_distinct(column, mode="only_valid").as_py() > given)


class Written(NamedTuple):
    """Rows in files of bounded size, in the order in which they came; ``is_sorted`` if that is the table's order."""

    paths: list[Path]
    rows: int
    is_sorted: bool


def write(batches: Iterable[pa.RecordBatch], table: Table, folder: Path) -> Written:
    """Write rows as they come, to files of bounded size in a folder; none for no rows."""
    order = _Order(table)
    paths: list[Path] = []
    rows = 0
    given = (batch for batch in batches if batch.num_rows)
    batch = next(given, None)
    while batch is not None:
        paths.append(folder / f"rows-{len(paths):05d}.parquet")
        with ParquetFile(paths[-1], table.arrow_schema) as file:
            while batch is not None and file.bytes < FILE_BYTES:
                file.write(batch)
                rows += batch.num_rows
                order.see(batch)
                batch = next(given, None)
    return Written(paths, rows, order.holds)


class _Order:
    """Whether rows come in the table's order; nulls count as out of order, so that the sort decides."""

    def __init__(self, table: Table) -> None:
        self.holds = True
        self._columns = list(table.sort)
        self._last: pl.DataFrame | None = None

    def see(self, batch: pa.RecordBatch) -> None:
        """Compare a batch with itself and with the row before it."""
        if self.holds:
            keys = pl.from_arrow(pa.Table.from_batches([batch.select(self._columns)]))
            assert isinstance(keys, pl.DataFrame)
            self.holds = _ascending(keys if self._last is None else pl.concat([self._last, keys]))
            self._last = keys.tail(1)


def sort(sources: Sequence[Path], table: Table, folder: Path) -> Iterator[Path]:
    """The rows of files in the table's order, as files of bounded size in a folder; none for no rows."""
    try:
        yield from _sorted(sources, table, folder, SORT_MEMORY)
        return
    except (duckdb.OutOfMemoryException, OSError) as error:  # an OSError if it comes in mid-stream
        if "Out of Memory" not in str(error):
            raise
    # DuckDB sorts no fewer than 2048 rows together, and these are large. Its own limit is most of the memory.
    yield from _sorted(sources, table, folder, None)


def _sorted(sources: Sequence[Path], table: Table, folder: Path, memory: str | None) -> list[Path]:
    # The key after the sort columns leaves no ties, so that the same rows always give the same file.
    order = ", ".join(f'"{name}" NULLS LAST' for name in dict.fromkeys((*table.sort, *table.key)))
    listed = ", ".join(map(literal, sources))
    paths: list[Path] = []
    with contextlib.closing(duckdb.connect()) as connection:
        connection.execute("SET enable_progress_bar=false")
        # Each thread holds a row group, and a sort in so little memory is no faster with two.
        connection.execute(f"SET threads={SORT_THREADS}")
        connection.execute(f"SET temp_directory={literal(folder / 'spill')}")
        if memory is not None:
            connection.execute(f"SET memory_limit='{memory}'")
        query = f"SELECT * FROM read_parquet([{listed}]) ORDER BY {order}"
        batches: Iterator[pa.RecordBatch] = iter(connection.sql(query).to_arrow_reader(16_384))
        first = next(batches, None)
        while first is not None:
            paths.append(folder / f"sorted-{len(paths):05d}.parquet")
            with ParquetFile(paths[-1], table.arrow_schema) as file:
                while first is not None and file.bytes < FILE_BYTES:
                    file.write(first)
                    first = next(batches, None)
    return paths


def _ascending(keys: pl.DataFrame) -> bool:
    """Whether rows ascend by all columns in turn."""
    in_order = pl.lit(True)
    for name in reversed(keys.columns):
        before, here = pl.col(name).shift(1), pl.col(name)
        in_order = (before < here) | ((before == here) & in_order)
    return bool(keys.select(in_order.slice(1).fill_null(False).all()).item())


def row_terms(paths: Sequence[Path]) -> tuple[RowTerms, ...]:
    """What the rows of files (at least one) say of their own licence and embargo."""
    query = "SELECT _licence, _embargo_until, count(*) FROM read_parquet($1) GROUP BY ALL ORDER BY ALL"
    with contextlib.closing(duckdb.connect()) as connection:
        found = connection.execute(query, [[str(path) for path in paths]]).fetchall()
    return tuple(RowTerms(licence=licence, embargo_until=until, rows=rows) for licence, until, rows in found)
