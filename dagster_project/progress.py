"""How far a run is, and how long each of its steps takes."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator

import pyarrow as pa

PROGRESS = logging.getLogger("winnow.progress")
"""Each message carries ``dataset``, ``step``, ``done`` and ``total``; the command line draws bars from them."""


def tell(dataset: str, step: str, done: int, total: int | None) -> None:
    """Say how far a step is, to whoever listens."""
    PROGRESS.debug("%s: %s", dataset, step, extra={"dataset": dataset, "step": step, "done": done, "total": total})


class Stopwatch:
    """Seconds per step. Steps run inside one another; what an inner step takes is not counted for the outer one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner: list[float] = []

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a block for a step."""
        started = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            elapsed = time.perf_counter() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + elapsed - self._inner.pop()
            if self._inner:
                self._inner[-1] += elapsed

    def pulling(self, step: str, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass batches on, timing for a step how long each takes to come."""
        source = iter(batches)
        while True:
            with self.step(step):
                batch = next(source, None)
            if batch is None:
                return
            yield batch
