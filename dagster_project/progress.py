"""How far a run is, and how long each of its steps takes."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterable, Iterator

import pyarrow as pa

PROGRESS = logging.getLogger("winnow.progress")
"""Each message carries ``dataset``, ``step``, ``done`` and ``total``; the command line draws bars from them."""


_WAITING = ""


def tell(dataset: str, step: str, done: int, total: int | None) -> None:
    """Say how far a step is, to whoever listens."""
    PROGRESS.debug("%s: %s", dataset, step, extra={"dataset": dataset, "step": step, "done": done, "total": total})


class Stopwatch:
    """Seconds per step. Steps run inside one another; what an inner step takes is not counted for the outer one.

    Steps may also run side by side, in threads. Then they share the seconds that pass in proportion to how long each
    is at work, so that together they are never more than the time that passed.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running = threading.local()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a block for a step."""
        inner = self._inner()
        started = time.perf_counter()
        inner.append(0.0)
        try:
            yield
        finally:
            elapsed = time.perf_counter() - started
            self._add(name, elapsed - inner.pop())
            if inner:
                inner[-1] += elapsed

    @contextlib.contextmanager
    def side_by_side(self) -> Iterator[None]:
        """Within, steps run in several threads, which are over at the end."""
        before, started = dict(self.seconds), time.perf_counter()
        try:
            yield
        finally:
            self._share(before, time.perf_counter() - started)

    def pulling(self, step: str | None, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass batches on, timing for a step how long each takes to come; what is waiting only is no step (None)."""
        source = iter(batches)
        while True:
            with self.step(step or _WAITING):
                batch = next(source, None)
            if batch is None:
                return
            yield batch

    def _share(self, before: dict[str, float], elapsed: float) -> None:
        self.seconds.pop(_WAITING, None)
        worked = {step: seconds - before.get(step, 0.0) for step, seconds in self.seconds.items()}
        scale = min(1.0, elapsed / total) if (total := sum(worked.values())) else 1.0
        self.seconds = {step: before.get(step, 0.0) + seconds * scale for step, seconds in worked.items()}

    def _inner(self) -> list[float]:
        """What the inner steps of each step that is running in this thread have taken."""
        if not hasattr(self._running, "inner"):
            self._running.inner = []
        inner: list[float] = self._running.inner
        return inner

    def _add(self, name: str, seconds: float) -> None:
        with self._lock:
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds
