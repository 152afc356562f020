"""What a stream of batches needs on its way from the reader to the files: a count of its records, and memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from catalog.errors import GateError
from dagster_project.progress import tell


class Records:
    """Counts what a reader reads, independently of the gate."""

    def __init__(self, dataset: str) -> None:
        self.read = 0
        self._dataset = dataset

    def counted(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass batches on, counting their records.

        Raises:
            GateError: the records are not numbered one after the other, so the reader has left some out.
        """
        for batch in batches:
            numbers = np.arange(self.read, self.read + batch.num_rows)
            if not batch["_source"].equals(pa.array(numbers, pa.int64())):
                given = batch["_source"].to_pylist()
                lost = next(number for number, found in zip(numbers.tolist(), given, strict=True) if number != found)
                raise GateError(
                    f"{self._dataset}: the reader does not account for record {lost} (counted from 0) of its source",
                    "this is a defect in the reader, which must number its records one after the other; report it",
                )
            self.read += batch.num_rows
            tell(self._dataset, "stage", self.read, None)
            yield batch


def reader_of(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatchReader:
    """Batches as Arrow's reader."""
    return pa.RecordBatchReader.from_batches(schema, batches)


@contextlib.contextmanager
def memory_kept() -> Iterator[None]:
    """Within, Arrow keeps what one batch frees for the next, where its own allocator would fetch it page by page."""
    before = pa.default_memory_pool()
    if "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)
