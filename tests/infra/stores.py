"""Stores for tests: a local one, one in memory, and one that fails at a chosen change."""

from __future__ import annotations

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

    @property
    def changes(self) -> int:
        return self.writes + self.deletes

    def delete(self, path: str) -> None:
        self.deletes += 1
        with self._dying(path):
            super().delete(path)

    def _place(self, path: str, fill: object, put: object = None) -> None:  # type: ignore[override]
        self.writes += 1
        with self._dying(path):
            super()._place(path, fill, put)  # type: ignore[arg-type]

    @contextmanager
    def _dying(self, path: str) -> Iterator[None]:
        fatal = self.changes == self.fatal
        if fatal and not self.after:
            raise Killed(path)
        yield
        if fatal:
            raise Killed(path)


class DownStore(LocalStore):
    """A local store whose every read fails: an outage."""

    def sizes(self, prefix: str = "") -> dict[str, int]:
        raise StoreError(f"store {self.url}: down")

    def read(self, path: str) -> bytes:
        raise StoreError(f"store {self.url}: down")
