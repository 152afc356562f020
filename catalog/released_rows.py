"""Rows of a release's Parquet files: what they say of their terms, and copies that hold the permitted ones only."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalog.errors import StorageError
from catalog.parquet import ParquetFile
from catalog.store import is_local

Said = tuple[str | None, date | None]
"""What a row says of itself: ``_licence`` and ``_embargo_until``."""
SAID = ["_licence", "_embargo_until"]
BATCH_ROWS = 16_384
_MANY = 1 << 17


@contextlib.contextmanager
def opened(filesystem: Any, path: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file on a disk or in an object store."""
    if is_local(filesystem):
        with pq.ParquetFile(filesystem._strip_protocol(path), memory_map=True) as file:
            yield file
    else:
        with filesystem.open(path, "rb") as source, pq.ParquetFile(source, pre_buffer=True) as file:
            yield file


@contextlib.contextmanager
def reading(source: str) -> Iterator[None]:
    """Turn what is wrong within a file of the warehouse into a StorageError that names it."""
    try:
        yield
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # it is the disk's or the store's doing, and told as such
        raise StorageError(
            f"{source} cannot be read as Parquet: {str(error).partition(chr(10))[0]}",
            "the warehouse's file is damaged: bring it back from a copy, or withdraw its version and run it again",
        ) from error


def said_in(file: pq.ParquetFile) -> Counter[Said]:
    """How many rows of a file say what of their terms."""
    found: Counter[Said] = Counter()
    for batch in file.iter_batches(_MANY, columns=SAID):
        counted = pa.Table.from_batches([batch]).group_by(SAID).aggregate([([], "count_all")])
        for row in counted.to_pylist():
            found[row["_licence"], row["_embargo_until"]] += row["count_all"]
    return found


def keep_permitted(file: pq.ParquetFile, permitted: Collection[Said], path: Path) -> None:
    """Write the rows under permitted terms, and nothing of others, to a new file, in their order and schema.

    Statistics, dictionaries and row groups come from the rows written alone; the same rows always give the same bytes.
    """
    test = _Permitted(permitted)
    with ParquetFile(path, file.schema_arrow) as target:
        for index in range(file.num_row_groups):
            mask = test.mask(file.read_row_group(index, columns=SAID))
            if not pc.any(mask).as_py():
                continue
            kept = file.read_row_group(index).filter(mask).combine_chunks()
            for batch in kept.to_batches(max_chunksize=BATCH_ROWS):
                target.write(batch)


class _Permitted:
    """Tells rows whose terms are among the permitted ones, by one look-up per row."""

    def __init__(self, permitted: Collection[Said]) -> None:
        licences = list({licence: None for licence, _ in permitted})
        days = list({day: None for _, day in permitted})
        self._licences, self._days = pa.array(licences, pa.string()), pa.array(days, pa.date32())
        self._table = pa.array([(licence, day) in permitted for licence in licences for day in days], pa.bool_())

    def mask(self, said: pa.Table) -> pa.ChunkedArray:
        """True where both terms are known and permitted together; what is not known is not permitted."""
        licence = pc.index_in(said["_licence"], value_set=self._licences)
        day = pc.index_in(said["_embargo_until"], value_set=self._days)
        place = pc.add(pc.multiply(licence, len(self._days)), day)
        return pc.fill_null(pc.take(self._table, place), False)
