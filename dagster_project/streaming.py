"""What a stream of batches needs on its way from the reader to the files: a count, memory, one read for several."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, Full, Queue

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


class _AbandonedError(Exception):
    """What a consumer of a shared stream is told when another one has failed."""


class _Consumer:
    """One of those who share a stream: its columns, what it does with them, and the one batch that waits."""

    def __init__(self, names: Sequence[str], work: Callable[[pa.RecordBatchReader], None]) -> None:
        self._names, self._work = names, work
        self._waiting: Queue[pa.RecordBatch | BaseException | None] = Queue(1)

    def run(self, schema: pa.Schema, failed: threading.Event) -> None:
        """Work on all batches; an error is told to the others."""
        try:
            self._work(reader_of(pa.schema([schema.field(name) for name in self._names]), self._batches()))
        except BaseException:
            failed.set()
            raise

    def _batches(self) -> Iterator[pa.RecordBatch]:
        while (item := self._waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item.select(self._names)

    def put(self, item: pa.RecordBatch | BaseException | None, failed: threading.Event) -> bool:
        """Add what comes next as soon as there is room; False if a consumer has failed."""
        while not failed.is_set():
            with contextlib.suppress(Full):
                self._waiting.put(item, timeout=0.1)
                return True
        return False

    def abandon(self) -> None:
        """End the work with an error, in the place of what still waits."""
        while True:
            with contextlib.suppress(Empty):
                self._waiting.get_nowait()
            with contextlib.suppress(Full):
                return self._waiting.put_nowait(_AbandonedError())


def shared(
    source: pa.RecordBatchReader,
    columns: Sequence[Sequence[str]],
    work: Sequence[Callable[[pa.RecordBatchReader], None]],
) -> None:
    """Give all batches of one reader, each time its own columns of them, to several that work on them in threads.

    Each is at most one batch behind the reader. Where one fails all are ended, and its error is raised.
    """
    consumers = [_Consumer(names, each) for names, each in zip(columns, work, strict=True)]
    failed = threading.Event()
    with ThreadPoolExecutor(len(consumers)) as pool:
        ends = [pool.submit(consumer.run, source.schema, failed) for consumer in consumers]
        broken = _hand_out(source, consumers, failed)
        for consumer in consumers:
            if not consumer.put(broken, failed):
                consumer.abandon()
    errors = [error for end in ends if (error := end.exception()) is not None]
    # The first is the cause; those who were told to end come last.
    for error in [broken, *sorted(errors, key=lambda error: isinstance(error, _AbandonedError))]:
        if error is not None:
            raise error


def _hand_out(
    source: pa.RecordBatchReader, consumers: Sequence[_Consumer], failed: threading.Event
) -> BaseException | None:
    """Give every batch to everyone, until one has failed; the error if the source breaks off."""
    try:
        for batch in source:
            for consumer in consumers:
                if not consumer.put(batch, failed):
                    return None
    except BaseException as error:
        return error
    return None
