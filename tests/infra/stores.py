"""Stores for tests: a local one, one in memory, and one that fails at a chosen write."""

from __future__ import annotations

from pathlib import Path

from infra.store import StoreError
from infra.store.local import LocalStore


class Killed(BaseException):
    """Stands for kill -9: nothing in the code under test may catch it."""


class FailingStore(LocalStore):
    """A local store that dies before or after its n-th write, as a killed process would."""

    def __init__(self, root: Path, fatal: int, *, after: bool = False) -> None:
        super().__init__(root)
        self.fatal, self.after, self.writes = fatal, after, 0

    def _place(self, path: str, fill: object, put: object = None) -> None:  # type: ignore[override]
        self.writes += 1
        if self.writes == self.fatal and not self.after:
            raise Killed(path)
        super()._place(path, fill, put)  # type: ignore[arg-type]
        if self.writes == self.fatal:
            raise Killed(path)


class DownStore(LocalStore):
    """A local store whose every read fails: an outage."""

    def sizes(self, prefix: str = "") -> dict[str, int]:
        raise StoreError(f"store {self.url}: down")

    def read(self, path: str) -> bytes:
        raise StoreError(f"store {self.url}: down")
