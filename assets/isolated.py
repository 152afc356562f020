"""Work on untrusted input in processes of its own: what crashes, hangs or eats memory there takes nothing else down.

Parsers in native code can die on a file that nobody foresaw. Here a function runs in worker processes, one for each
core, that are started once and used by all callers. A worker that dies, takes too long or asks for too much memory is
replaced, and its item is given back as ``Lost``, with the reason.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import pickle
import queue
import resource
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

SECONDS = 120.0
MEMORY = 4 << 30
"""Bytes of address space that a worker may have."""

_LENGTH = struct.Struct("<Q")


class Lost(NamedTuple):
    """Stands for the answer to an item that was not survived; ``reason`` says what happened, in words."""

    reason: str


def isolated(
    function: Callable[[Item], Answer], items: Iterable[Item], seconds: float = SECONDS
) -> Iterator[Answer | Lost]:
    """The answers of a function to items, in their order, computed in worker processes.

    A bounded number of items is under way, so that memory does not grow with their number. May be called from any
    thread.

    Args:
        function: named in an importable module; its items and answers can be pickled.
        items: taken as answers are taken.
        seconds: after which an item is given up.
    """
    pool = _pool()
    under_way: deque[Future[Answer | Lost]] = deque()
    for item in items:
        under_way.append(pool.submit(function, item, seconds))
        if len(under_way) > 2 * pool.size:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


def isolated_lists(
    function: Callable[[list[Item]], Answer], lists: Iterable[list[Item]], seconds: float = SECONDS
) -> Iterator[tuple[list[Item], Answer | Lost]]:
    """As ``isolated`` for lists. The items of a lost one are tried again one by one: only the culprits are lost."""
    waiting: deque[list[Item]] = deque()

    def seen() -> Iterator[list[Item]]:
        for some in lists:
            waiting.append(some)
            yield some

    for answer in isolated(function, seen(), seconds):
        some = waiting.popleft()
        if not isinstance(answer, Lost) or len(some) == 1:
            yield some, answer
            continue
        singles = [[item] for item in some]
        yield from zip(singles, isolated(function, singles, seconds), strict=True)


class _Pool:
    """One thread for each worker process; a thread hands over one item at a time and waits for its answer."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="isolated")
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._workers = [_Worker() for _ in range(size)]
        for worker in self._workers:
            self._idle.put(worker)

    def submit(self, function: Callable[[Item], Answer], item: Item, seconds: float) -> Future[Answer | Lost]:
        return self._threads.submit(self._answer, f"{function.__module__}:{function.__qualname__}", item, seconds)

    def _answer(self, name: str, item: Any, seconds: float) -> Any:
        worker = self._idle.get()
        try:
            return worker.answer(name, item, seconds)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        for worker in self._workers:
            worker.stop()


@cache
def _pool_of(_process: int) -> _Pool:  # a forked process has none of its parent's threads
    pool = _Pool(os.cpu_count() or 1)
    atexit.register(pool.close)
    return pool


_starting = threading.Lock()


def _pool() -> _Pool:
    with _starting:
        return _pool_of(os.getpid())


class _Worker:
    """A process that answers one item after the other; started when it is first needed, and again after it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def answer(self, name: str, item: Any, seconds: float) -> Any:
        if self._process is None:
            self._process = _started()
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _send(process.stdin, (name, item))
            found = _received(process.stdout, seconds)
        except TimeoutError:
            self.stop()
            return Lost(f"it took longer than {seconds:g} s")
        except (EOFError, OSError):
            process.wait(10)
            self._process = None
            return Lost(f"the process that worked on it died ({_cause(process.returncode)})")
        if isinstance(found, Lost) and found.reason == _TOO_LARGE:
            self.stop()  # what it holds may not leave room for the next
        return found

    def stop(self) -> None:
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.kill()
            self._process.wait(10)
            self._process = None


_TOO_LARGE = f"it needs more than {MEMORY >> 30} GB of memory"


def _started() -> subprocess.Popen[bytes]:
    # There is a worker for each core already; threads of linear algebra would only be in its way.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-c", "from assets.isolated import serve; serve()"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)  # noqa: S603


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


def _send(stream: Any, value: Any) -> None:
    content = pickle.dumps(value, protocol=5)
    stream.write(_LENGTH.pack(len(content)))
    stream.write(content)
    stream.flush()


def _received(stream: Any, seconds: float) -> Any:
    """The next value of a worker. Raises EOFError when it died, TimeoutError when it is too late."""
    end = time.monotonic() + seconds
    (length,) = _LENGTH.unpack(_bytes(stream.fileno(), _LENGTH.size, end))
    return pickle.loads(_bytes(stream.fileno(), length, end))  # noqa: S301 (from our own worker)


def _bytes(descriptor: int, length: int, end: float) -> bytearray:
    found = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while len(found) < length:
            if not selector.select(max(0.0, end - time.monotonic())):
                raise TimeoutError
            piece = os.read(descriptor, min(length - len(found), 1 << 20))
            if not piece:
                raise EOFError
            found += piece
    return found


def serve() -> None:
    """What a worker process does: answer requests until its parent closes the pipe, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # its parent decides when to stop
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    while head := requests.read(_LENGTH.size):
        name, item = pickle.loads(requests.read(_LENGTH.unpack(head)[0]))  # noqa: S301 (from our own parent)
        _send(answers, _attempt(name, item))


def _attempt(name: str, item: Any) -> Any:
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)(item)
    except MemoryError:
        return Lost(_TOO_LARGE)
    except Exception as error:  # a fault in our own code must not cost the other records either
        return Lost(f"{type(error).__name__}: {error}")
