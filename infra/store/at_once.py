"""The same for many files at a time: bounded, in their order, and over with the first failure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

AT_ONCE = 16
"""Requests to a store that are under way at the same time where many files are asked for."""
_T = TypeVar("_T")
_R = TypeVar("_R")


def at_once(do: Callable[[_T], _R], items: Iterable[_T], threads: int = AT_ONCE) -> Generator[_R, None, None]:
    """What `do` returns for each item, in their order. Raises what it raises first; what has not begun then never does.

    The same holds when the iterator is closed. Work runs ahead of who asks by twice the threads and no more.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="at-once")
    ahead: deque[Future[_R]] = deque()
    try:
        for item in items:
            if len(ahead) == 2 * threads:
                yield ahead.popleft().result()
            ahead.append(pool.submit(do, item))
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
