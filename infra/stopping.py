"""Stopping at a good moment: SIGTERM and Ctrl-C let the work go on to its next safe point.

Both arrive as exceptions, Prefect's and Python's, in the main thread and between any two of its instructions. So the
work is done in another thread, and the main one asks it to stop. A signal handler of ours would be simpler, but
Prefect stops a flow with kill -9 when its own is not in place.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

_T = TypeVar("_T")
_asked = threading.Event()


class Stopped(BaseException):
    """The work has ended early because it was asked to; what it had finished is kept."""


def ask() -> None:
    """Ask the work to end at its next safe point: for a process whose main thread does the work."""
    _asked.set()


def asked() -> bool:
    """Whether the work should end at its next safe point."""
    return _asked.is_set()


def check() -> None:
    """A safe point. Raises Stopped when the work should end."""
    if asked():
        raise Stopped


def attended(
    work: Callable[[], _T], beat: Callable[[], object], every_s: float, on_stop: Callable[[], object] = lambda: None
) -> _T:
    """The result of `work`, done in a thread of its own; `beat` is called in this one every `every_s` seconds.

    An exception that arrives here meanwhile (a signal's) asks the work to stop and is raised when it has; a second
    one is raised at once, and the work is left to end with the process. `on_stop` is called in between.
    """
    future: Future[_T] = Future()
    context = contextvars.copy_context()  # carries the Prefect run the work belongs to
    thread = threading.Thread(target=_do, args=(future, lambda: context.run(work)), name="instaflow-work", daemon=True)
    try:
        thread.start()
        while not wait([future], every_s).done:
            beat()
    except BaseException:
        if not future.cancel() and not future.done():  # it runs
            ask()
            on_stop()
            wait([future])
            _asked.clear()
        raise
    return future.result()


def _do(future: Future[_T], work: Callable[[], _T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:  # handed over: raised where the result is asked for
        future.set_exception(error)
