"""What tests ask of the cache: what was downloaded into it, what it holds, and for how long it was not used."""

from __future__ import annotations

import os
import time
from pathlib import Path

from infra.artifact import cache
from infra.store import Store
from infra.store.remote import RemoteStore


class Counted(RemoteStore):
    """A real remote store that keeps a list of what was downloaded, and spoils the first downloads."""

    def __init__(self, store: Store, spoil: int = 0) -> None:
        super().__init__(store.url)
        self.names: list[str] = []
        self.spoil = spoil

    def download(self, path: str, local: Path) -> None:
        self.names.append(Path(path).name)
        super().download(path, local)
        if len(self.names) <= self.spoil:
            local.write_bytes(local.read_bytes()[:-1])


def held() -> dict[str, Path]:
    """What the cache has, by the first part of the name."""
    return {path.name.partition("-")[0]: path for path, _ in cache._held()}


def aged(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))
