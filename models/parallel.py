"""A function of many things at once, on a few threads: for work that leaves Python (decoding, resizing, reading)."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

MOST = 16


def threads() -> int:
    """One for each core this process may use, at most `MOST`."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST)


def in_order(function: Callable[[A], B], items: Iterable[A], workers: int | None = None) -> Iterator[B]:
    """`function` of each item, in the order of the items; at most twice as many are under way as there are threads.

    The first error is raised where its result would stand; what was not begun by then, or when the caller stops
    asking, is not done.
    """
    count = workers or threads()
    with ThreadPoolExecutor(count) as pool:
        under_way: deque[Future[B]] = deque()
        try:
            for item in items:
                under_way.append(pool.submit(function, item))
                if len(under_way) >= 2 * count:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
