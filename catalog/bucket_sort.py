"""Sort rows that are too large for a sort in memory: rank them by their keys alone, then put them where they belong.

The rows are dealt out to buckets, each a range of ranks that fits into memory, and every bucket is put in order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from catalog.sql_types import literal

BUCKET_BYTES = 32 << 20  # as they lie in Parquet, before compression
MOST_BUCKETS = 256  # files that are open at once
READ_ROWS = 512
RANK_MEMORY = "512MB"

Ranks = npt.NDArray[np.int64]


def in_order(sources: Sequence[Path], order: str, folder: Path) -> Iterator[pa.RecordBatch]:
    """The rows of Parquet files by an SQL order that leaves no ties, in small batches.

    Memory is that of one bucket and of 16 bytes for each row.
    """
    told = [pq.read_metadata(path) for path in sources]
    rows = sum(one.num_rows for one in told)
    size = sum(one.row_group(group).total_byte_size for one in told for group in range(one.num_row_groups))
    each = max(1, rows * BUCKET_BYTES // max(1, size), -(-rows // MOST_BUCKETS))
    ranks = _ranks(sources, [one.num_rows for one in told], order, folder)
    for bucket in _dealt(sources, ranks, each, folder):
        with pa.memory_map(str(bucket)) as stream:
            found = pa.ipc.open_stream(stream).read_all()
            places = pa.array(np.argsort(found["rank"].to_numpy()))
            yield from found.take(places).drop_columns("rank").to_batches(max_chunksize=READ_ROWS)
        bucket.unlink()


def _ranks(sources: Sequence[Path], rows: Sequence[int], order: str, folder: Path) -> list[Ranks]:
    """For each file the place of each of its rows among all."""
    ranks = [np.empty(number, dtype=np.int64) for number in rows]
    place = 0
    with contextlib.closing(duckdb.connect()) as connection:
        connection.execute("SET enable_progress_bar=false")
        connection.execute(f"SET temp_directory={literal(folder / 'spill')}")
        connection.execute(f"SET memory_limit='{RANK_MEMORY}'")
        selects = [
            f"SELECT {index}::INTEGER AS file, * FROM read_parquet({literal(path)}, file_row_number=true)"
            for index, path in enumerate(sources)
        ]
        query = f"SELECT file, file_row_number FROM ({' UNION ALL '.join(selects)}) ORDER BY {order}"
        for batch in connection.sql(query).to_arrow_reader(1 << 16):
            files, numbers = (column.to_numpy() for column in batch.columns)
            for index in np.unique(files):
                chosen = files == index
                ranks[index][numbers[chosen]] = place + np.flatnonzero(chosen)
            place += batch.num_rows
    return ranks


def _dealt(sources: Sequence[Path], ranks: Sequence[Ranks], each: int, folder: Path) -> list[Path]:
    """The rows with their ranks, in one file for each range of so many."""
    buckets: dict[int, tuple[Path, pa.RecordBatchStreamWriter]] = {}
    with contextlib.ExitStack() as opened:
        for path, of_file in zip(sources, ranks, strict=True):
            begin = 0
            for batch in pq.ParquetFile(path).iter_batches(READ_ROWS):
                rank = of_file[begin : begin + batch.num_rows]
                begin += batch.num_rows
                ranked = batch.append_column("rank", pa.array(rank))
                for number in np.unique(rank // each):
                    if number not in buckets:
                        place = folder / f"bucket-{number:05d}.arrow"
                        sink = opened.enter_context(pa.OSFile(str(place), "wb"))
                        buckets[number] = place, opened.enter_context(pa.ipc.new_stream(sink, ranked.schema))
                    buckets[number][1].write_batch(ranked.filter(pa.array(rank // each == number)))
    return [buckets[number][0] for number in sorted(buckets)]
