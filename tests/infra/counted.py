"""What tests ask of the cache: what was downloaded into it, what it holds, and for how long it was not used."""

from __future__ import annotations

import os
import time
from pathlib import Path

from infra.artifact import room
from infra.artifact.cache_folder import cache_folder
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


def copies() -> list[Path]:
    """Every copy that the cache has."""
    return sorted(path for path in (cache_folder() / room._COPIES).rglob("*") if path.is_file())


def held() -> dict[str, Path]:
    """What the cache has, by the first part of the name."""
    return {path.name.partition("-")[0]: path for path in copies()}


def aged(path: Path, seconds: float) -> Path:
    """The file, which was changed so long ago by now."""
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def unused(copy: Path, seconds: float) -> None:
    """Let the copy be one that was last used so long ago."""
    aged(room._mark_of(copy), seconds)


def unused_s(copy: Path) -> float:
    """For how long the copy was not used."""
    return time.time() - room._mark_of(copy).stat().st_mtime
