"""Stores for tests: a local one, one in memory, and one that fails at a chosen change."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.store import StoreError
from infra.store.local import LocalStore


class Killed(BaseException):
    """Stands for kill -9: nothing in the code under test may catch it."""


class FailingStore(LocalStore):
    """A local store that dies before or after its n-th change, a write or a delete, as a killed process would."""

    def __init__(self, root: Path, fatal: int, *, after: bool = False) -> None:
        super().__init__(root)
        self.fatal, self.after, self.writes, self.deletes = fatal, after, 0, 0
        self._lock = threading.Lock()

    @property
    def changes(self) -> int:
        return self.writes + self.deletes

    def delete(self, path: str) -> None:
        with self._dying(path, deletes=1):
            super().delete(path)

    def _place(self, path: str, fill: object, put: object = None) -> None:  # type: ignore[override]
        with self._dying(path, writes=1):
            super()._place(path, fill, put)  # type: ignore[arg-type]

    @contextmanager
    def _dying(self, path: str, writes: int = 0, deletes: int = 0) -> Iterator[None]:
        with self._lock:
            is_dead = 0 < self.fatal <= self.changes  # then no other thread goes on
            if not is_dead:
                self.writes, self.deletes = self.writes + writes, self.deletes + deletes
            if is_dead or (self.changes == self.fatal and not self.after):
                raise Killed(path)
            yield
            if self.changes == self.fatal:
                raise Killed(path)


class DownStore(LocalStore):
    """A local store whose every read fails: an outage."""

    def sizes(self, prefix: str = "") -> dict[str, int]:
        raise StoreError(f"store {self.url}: down")

    def read(self, path: str) -> bytes:
        raise StoreError(f"store {self.url}: down")
