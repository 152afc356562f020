"""Parquet files in a table's schema and order: bounded row groups, bounded files, sorted out of core."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from catalog.records import RowTerms
from catalog.sql_types import literal
from catalog.table import Table

ROW_GROUP_ROWS = 122_880
ROW_GROUP_BYTES = 32 << 20
FILE_BYTES = 512 << 20
SORT_MEMORY = "192MB"
SORT_THREADS = 1


class ParquetFile:
    """One Parquet file in a table's schema, with row groups of bounded rows and bytes."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd", write_page_index=True)
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = self._waiting_bytes = 0
        self.bytes = 0

    def __enter__(self) -> ParquetFile:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._sink:
            if kind is None:
                self._flush()
                self._writer.close()
            else:
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
            self._writer.write_table(
                pa.Table.from_batches(self._waiting).cast(self._schema), row_group_size=ROW_GROUP_ROWS
            )
            self.bytes += self._waiting_bytes // 4  # about what zstd leaves; only bounds the file's size
            self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0


def write(batches: Iterable[pa.RecordBatch], table: Table, path: Path) -> tuple[int, bool]:
    """Write rows as they come; says how many, and whether they make one file in the table's order as they are."""
    rows, is_sorted, last = 0, True, None
    with ParquetFile(path, table.arrow_schema) as file:
        for batch in batches:
            if batch.num_rows == 0:
                continue
            file.write(batch)
            rows += batch.num_rows
            if is_sorted:
                keys = pl.from_arrow(pa.Table.from_batches([batch.select(list(table.sort))]))
                assert isinstance(keys, pl.DataFrame)
                is_sorted = _ascending(keys if last is None else pl.concat([last, keys]))
                last = keys.tail(1)
    return rows, is_sorted and rows > 0 and path.stat().st_size <= FILE_BYTES


def sort(source: Path, table: Table, folder: Path) -> Iterator[Path]:
    """The rows of a file in the table's order, as files of bounded size in a folder; none for no rows."""
    try:
        yield from _sorted(source, table, folder, SORT_MEMORY)
        return
    except (duckdb.OutOfMemoryException, OSError) as error:  # an OSError if it comes in mid-stream
        if "Out of Memory" not in str(error):
            raise
    # DuckDB sorts no fewer than 2048 rows together, and these are large. Its own limit is most of the memory.
    yield from _sorted(source, table, folder, None)


def _sorted(source: Path, table: Table, folder: Path, memory: str | None) -> list[Path]:
    # The key after the sort columns leaves no ties, so that the same rows always give the same file.
    order = ", ".join(f'"{name}" NULLS LAST' for name in dict.fromkeys((*table.sort, *table.key)))
    paths: list[Path] = []
    with contextlib.closing(duckdb.connect()) as connection:
        connection.execute("SET enable_progress_bar=false")
        # Each thread holds a row group, and a sort in so little memory is no faster with two.
        connection.execute(f"SET threads={SORT_THREADS}")
        connection.execute(f"SET temp_directory={literal(folder / 'spill')}")
        if memory is not None:
            connection.execute(f"SET memory_limit='{memory}'")
        query = f"SELECT * FROM read_parquet({literal(source)}) ORDER BY {order}"
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
    """Whether rows ascend by all columns in turn; nulls count as out of order, so that the sort decides."""
    in_order = pl.lit(True)
    for name in reversed(keys.columns):
        before, here = pl.col(name).shift(1), pl.col(name)
        in_order = (before < here) | ((before == here) & in_order)
    return bool(keys.select(in_order.slice(1).fill_null(False).all()).item())


def row_terms(path: Path) -> tuple[RowTerms, ...]:
    """What the rows of a file say of their own licence and embargo."""
    query = "SELECT _licence, _embargo_until, count(*) FROM read_parquet(?) GROUP BY ALL ORDER BY ALL"
    with contextlib.closing(duckdb.connect()) as connection:
        found = connection.execute(query, [str(path)]).fetchall()
    return tuple(RowTerms(licence=licence, embargo_until=until, rows=rows) for licence, until, rows in found)
