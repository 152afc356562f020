"""What a stream of batches needs on its way from the reader to the files: a count of its records, and a quiet process."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterable, Iterator

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
            numbers = range(self.read, self.read + batch.num_rows)
            if not batch["_source"].equals(pa.array(numbers, pa.int64())):
                given = batch["_source"].to_pylist()
                lost = next(number for number, found in zip(numbers, given, strict=True) if number != found)
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
def old_objects_at_rest() -> Iterator[None]:
    """Within, Python does not search what is already there for garbage, which it would do at each few batches.

    Libraries leave a million objects behind when they are imported, and none of them ever is garbage.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
