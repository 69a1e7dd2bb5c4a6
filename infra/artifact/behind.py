"""Work that is done behind another's back: a shard goes up while the next one is made."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

_log = logging.getLogger(__name__)


class Behind:
    """One piece of work at a time, in a thread of its own; who brings the next one waits for the one before."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._under_way: Future[object] | None = None

    def do(self, work: Callable[[], object]) -> None:
        """Begin it when the one before is done. Raises what the one before raised; then this one is not begun."""
        self.wait()
        self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="behind")
        self._under_way = self._pool.submit(contextvars.copy_context().run, work)

    def wait(self) -> None:
        """Return when nothing is under way. Raises what the work raised, once."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def close(self) -> None:
        """Let what is under way end; nobody is left to be told of its failure, so that is logged."""
        try:
            self.wait()
        except Exception as error:
            _log.warning("what was being committed is not: %s", error)
        if self._pool is not None:
            self._pool.shutdown()
        self._pool = None
