"""Parquet files in a table's schema and order: bounded row groups, bounded files, sorted out of core."""

from __future__ import annotations

import base64
import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalog.bucket_sort import in_order
from catalog.records import RowTerms
from catalog.row_order import RowOrder, straightened
from catalog.sql_types import literal
from catalog.table import Table

ROW_GROUP_ROWS = 122_880
ROW_GROUP_BYTES = 32 << 20
FILE_BYTES = 512 << 20
SAMPLED = 20_000
SORT_MEMORY = "192MB"
SORT_BATCH_BYTES = 16 << 20
SORT_THREADS = 1
RUNS = 256
"""Rows that come as at most so many runs in order, such as the chromosomes of a genome, need no sort."""
RUN_ROWS = 16_384  # shorter runs are sorted together instead: many small files would be slow to read


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
        # What is null in every row takes room on the way only: it must not make for smaller row groups in the file.
        self._waiting_bytes += sum(column.nbytes for column in batch.columns if column.null_count < len(column))
        if self._waiting_rows >= ROW_GROUP_ROWS or self._waiting_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            kept = _as_it_comes(self._waiting[0].schema, self._schema) if self._writer is None else self._writer.schema
            rows = pa.Table.from_batches([_encoded(batch, kept) for batch in self._waiting]).unify_dictionaries()
            self._opened(rows).write_table(rows, row_group_size=ROW_GROUP_ROWS)
            self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0

    def _opened(self, rows: pa.Table) -> pq.ParquetWriter:
        """The writer, whose encodings are chosen by the first rows."""
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._sink,
                rows.schema,
                compression="zstd",
                use_dictionary=_repeating(rows.slice(0, SAMPLED)),
                write_page_index=True,
                store_schema=False,
            )
            # As pyarrow stores it, but of the rows' own types, however they were encoded on the way here.
            told = base64.b64encode(self._schema.serialize().to_pybytes())
            self._writer.add_key_value_metadata({"ARROW:schema": told})
        return self._writer


def _as_it_comes(given: pa.Schema, wanted: pa.Schema) -> pa.Schema:
    """The wanted schema, with texts encoded by a dictionary where they are given so: that need not be undone."""
    coded = {field.name: field.type for field in given if pa.types.is_dictionary(field.type)}
    return pa.schema([field.with_type(coded.get(field.name, field.type)) for field in wanted], wanted.metadata)


def _encoded(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch in a schema that differs from its own in encodings and metadata only."""
    if batch.schema.equals(schema, check_metadata=True):
        return batch
    columns = [
        column.dictionary_encode().cast(field.type)
        if pa.types.is_dictionary(field.type) and not pa.types.is_dictionary(column.type)
        else column.cast(field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


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
    if pa.types.is_nested(column.type) or pa.types.is_dictionary(column.type) or not given:
        return False
    return bool(2 * pc.count_distinct(column, mode="only_valid").as_py() > given)


class Written(NamedTuple):
    """Rows in files of bounded size.

    ``is_sorted`` if the files one after the other are in the table's order; ``repeats`` are then the rows whose key
    an earlier row has, or None where only a look at all rows can tell.
    """

    paths: list[Path]
    rows: int
    is_sorted: bool
    repeats: int | None = None


def write(batches: Iterable[pa.RecordBatch], table: Table, folder: Path) -> Written:
    """Write rows as they come, to files of bounded size in a folder; none for no rows.

    Where a run of rows in order ends (see ``RowOrder``) a new file begins, unless that happens too often; if the runs
    turn out to be separate ranges, the files are in the table's order once they are put in theirs.
    """
    order = RowOrder(table)
    rows = 0
    with _Runs(table, folder) as runs:
        for batch in straightened(batches, table):
            if batch.num_rows:
                runs.write(batch, order.see(batch))
                rows += batch.num_rows
    paths = runs.in_order() if runs.number < 2 or rows >= RUN_ROWS * runs.number else None
    return Written(paths or runs.paths, rows, paths is not None, None if paths is None else order.repeats)


@dataclass
class _Run:
    """Rows in order: the sort columns of the first and of the last, and the files that hold them."""

    first: list[tuple[bool, Any]]
    last: list[tuple[bool, Any]]
    paths: list[Path]


class _Runs:
    """Files of rows; a new one begins where a run ends and where one is full."""

    def __init__(self, table: Table, folder: Path) -> None:
        self._table, self._folder = table, folder
        self._file: ParquetFile | None = None
        self._runs: list[_Run] = []
        self._too_many = False
        self.paths: list[Path] = []

    def __enter__(self) -> _Runs:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._file is not None:
            self._file.__exit__(kind)
            self._file = None

    def write(self, batch: pa.RecordBatch, ends: list[int]) -> None:
        """Add a batch, given at which of its rows a run must end."""
        self._too_many = self._too_many or len(self._runs) + len(ends) > RUNS
        cuts = sorted({0, batch.num_rows, *(() if self._too_many else ends)})
        for begin, end in itertools.pairwise(cuts):
            self._add(batch.slice(begin, end - begin), begins_run=not self._runs or begin in ends)

    def _add(self, rows: pa.RecordBatch, begins_run: bool) -> None:
        begins_run = begins_run and not (self._too_many and self._runs)
        if begins_run or (self._file is not None and self._file.bytes >= FILE_BYTES):
            self.__exit__(None)
        if begins_run:
            self._runs.append(_Run(self._key(rows, 0), [], []))
        if self._file is None:
            self.paths.append(self._folder / f"rows-{len(self.paths):05d}.parquet")
            self._runs[-1].paths.append(self.paths[-1])
            self._file = ParquetFile(self.paths[-1], self._table.arrow_schema)
        self._runs[-1].last = self._key(rows, rows.num_rows - 1)
        self._file.write(rows)

    def _key(self, rows: pa.RecordBatch, row: int) -> list[tuple[bool, Any]]:
        """A row's sort columns, comparable, nulls last."""
        values = [rows[name][row].as_py() for name in self._table.sort]
        return [(value is None, value) for value in values]

    @property
    def number(self) -> int:
        """How many runs there are."""
        return len(self._runs)

    def in_order(self) -> list[Path] | None:
        """The files in the table's order; None if the runs are too many, or overlap."""
        runs = sorted(self._runs, key=lambda run: run.first)
        apart = all(before.last < after.first for before, after in itertools.pairwise(runs))
        return None if self._too_many or not apart else [path for run in runs for path in run.paths]


def sort(sources: Sequence[Path], table: Table, folder: Path) -> Iterator[Path]:
    """The rows of files in the table's order, as files of bounded size in a folder; none for no rows."""
    try:
        yield from _sorted(sources, table, folder, SORT_MEMORY)
        return
    except (duckdb.OutOfMemoryException, OSError) as error:  # an OSError if it comes in mid-stream
        if "Out of Memory" not in str(error):
            raise
    # DuckDB sorts no fewer than 2048 rows together, and these are large.
    yield from _written(in_order(sources, _order(table), folder), table, folder)


def _order(table: Table) -> str:
    """The key after the sort columns leaves no ties, so that the same rows always give the same file."""
    return ", ".join(f'"{name}" NULLS LAST' for name in dict.fromkeys((*table.sort, *table.key)))


def _sorted(sources: Sequence[Path], table: Table, folder: Path, memory: str) -> list[Path]:
    listed = ", ".join(map(literal, sources))
    with contextlib.closing(duckdb.connect()) as connection:
        connection.execute("SET enable_progress_bar=false")
        # Each thread holds a row group, and a sort in so little memory is no faster with two.
        connection.execute(f"SET threads={SORT_THREADS}")
        connection.execute(f"SET temp_directory={literal(folder / 'spill')}")
        connection.execute(f"SET memory_limit='{memory}'")
        query = f"SELECT * FROM read_parquet([{listed}]) ORDER BY {_order(table)}"
        return _written(connection.sql(query).to_arrow_reader(_rows_at_once(sources)), table, folder)


def _written(rows: Iterable[pa.RecordBatch], table: Table, folder: Path) -> list[Path]:
    """Rows in order as files of bounded size."""
    batches = iter(rows)
    paths: list[Path] = []
    first = next(batches, None)
    while first is not None:
        paths.append(folder / f"sorted-{len(paths):05d}.parquet")
        with ParquetFile(paths[-1], table.arrow_schema) as file:
            while first is not None and file.bytes < FILE_BYTES:
                file.write(first)
                first = next(batches, None)
    return paths


def _rows_at_once(sources: Sequence[Path]) -> int:
    """How many rows are about SORT_BATCH_BYTES; DuckDB hands over no fewer than 2048."""
    told = [pq.read_metadata(path) for path in sources]
    size = sum(one.row_group(group).total_byte_size for one in told for group in range(one.num_row_groups))
    rows = sum(one.num_rows for one in told)
    return int(min(16_384, max(2_048, rows * SORT_BATCH_BYTES // max(1, size))))


def row_terms(paths: Sequence[Path]) -> tuple[RowTerms, ...]:
    """What the rows of files (at least one) say of their own licence and embargo."""
    query = "SELECT _licence, _embargo_until, count(*) FROM read_parquet($1) GROUP BY ALL ORDER BY ALL"
    with contextlib.closing(duckdb.connect()) as connection:
        found = connection.execute(query, [[str(path) for path in paths]]).fetchall()
    return tuple(RowTerms(licence=licence, embargo_until=until, rows=rows) for licence, until, rows in found)
