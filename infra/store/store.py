"""Where bytes live: a local folder or S3, behind a few small methods.

Two promises carry the commit protocol: a write is whole or not there, and "not there" is never said for any
other reason than absence. Every other failure of a store is a StoreError.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from infra.errors import UserError
from infra.store.at_once import at_once

Names: TypeAlias = list[str]  # inside Store the word `list` is a method


class StoreError(UserError):
    """The store failed (not: the file is absent). Names the store, the path and the reason."""


class Store(ABC):
    """A tree of immutable files under one root. Paths are relative, POSIX. `open_store` picks the kind by URL."""

    url: str

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The content; FileNotFoundError only when really absent, StoreError on any other failure."""

    @abstractmethod
    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """The bytes from `start` to `stop`, one or more and all within the file; fails as `read` does."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """Bytes of the file, None when it is really absent."""

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Put a small file, whole or not at all, replacing what was there."""

    @abstractmethod
    def create(self, path: str, data: bytes) -> bool:
        """Put a small file if none is there; whether the file there is this one. A store may replace instead: True.

        The bytes decide, for a client repeats a request whose answer was lost, and finds the name taken by itself.
        """

    @abstractmethod
    def upload(self, local: Path, path: str) -> None:
        """Put a local file, whole or not at all, replacing what was there."""

    @abstractmethod
    def put(self, path: str, chunks: Iterable[bytes], size: int, sha256: str) -> None:
        """Put a file as its chunks come, whole or not at all; `size` and `sha256` are those of all of them together.

        It is there when they have come to their end: what they raise on the way is raised, and nothing is there.
        """

    @abstractmethod
    def download(self, path: str, local: Path) -> None:
        """Get a file to `local`, where a failure may leave a part; FileNotFoundError only when it is really absent."""

    @abstractmethod
    def chunks(self, path: str) -> Iterator[bytes]:
        """The content piece by piece, never all in memory; fails as `read` does."""

    @abstractmethod
    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Bytes of every file below the folder `prefix`, by path relative to the store, sorted."""

    @abstractmethod
    def modified(self, prefix: str = "") -> dict[str, datetime]:
        """When each file below the folder `prefix` was written; a file whose store does not say so is left out."""

    @abstractmethod
    def leftovers(self) -> dict[str, datetime]:
        """What writers that were killed left and no listing shows (temporary files, multipart uploads): since when."""

    @abstractmethod
    def drop_leftover(self, name: str) -> None:
        """Remove one of `leftovers`; nothing happens when it is gone."""

    @abstractmethod
    def folders(self, prefix: str = "") -> Names:
        """Names of the folders directly below `prefix`, sorted."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Remove a file; nothing happens when it is absent."""

    def delete_many(self, paths: Collection[str]) -> None:
        """Remove files, in few requests where the store can; absent ones are passed over. Raises StoreError.

        Some may be gone when it raises.
        """
        for path in paths:
            self.delete(path)

    def read_many(self, paths: Collection[str]) -> dict[str, bytes]:
        """The contents of small files by path, read at the same time; absent ones are left out. Raises StoreError."""
        found = zip(paths, at_once(self._read_if_there, paths), strict=True)
        return {path: data for path, data in found if data is not None}

    def _read_if_there(self, path: str) -> bytes | None:
        try:
            return self.read(path)
        except FileNotFoundError:
            return None

    @abstractmethod
    def local_path(self, path: str) -> Path | None:
        """The real path of a file when the store is a local folder, else None."""

    def exists(self, path: str) -> bool:
        """Whether the file is there; an error of the store is raised, never answered with False."""
        return self.size(path) is not None

    def list(self, prefix: str = "") -> Names:
        """Every file below the folder `prefix`, relative to the store, sorted."""
        return [*self.sizes(prefix)]

    def _holds(self, path: str, data: bytes) -> bool:
        return self._read_if_there(path) == data

    def __repr__(self) -> str:
        return f"Store({self.url!r})"


def checked(path: str) -> str:
    """The path itself. Raises UserError for one that could leave the store: paths are also read from its records."""
    if path.startswith("/") or ".." in path.split("/"):
        raise UserError(f"{path}: leads out of the store; expected a path relative to it, without `..`")
    return path


def reason(error: BaseException) -> str:
    """What an exception says went wrong, without a full stop."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.rstrip(". ") or type(error).__name__
