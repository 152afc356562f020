"""Work ahead: what comes next is made in a thread while the caller works on what came before."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items, the next of which is made in a thread while the caller works on this one.

    One item waits at most. What making one raises is raised here; the items are closed, as a generator is, when the
    caller has had the last one, stops asking, or breaks off.
    """
    end = object()
    close = getattr(items, "close", None)
    with ThreadPoolExecutor(1) as pool:
        try:
            pending = pool.submit(next, items, end)
            while (item := pending.result()) is not end:
                pending = pool.submit(next, items, end)
                yield item  # type: ignore[misc]
        finally:
            pool.shutdown()  # waits for what is still being made
            if close is not None:
                close()
