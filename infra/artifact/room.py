"""The room that copies take: within the limit, the least recently used ones go, and nothing that is not the cache's.

Beside each copy in `copies/` lies an empty file of its name in `used/`: it says that the cache wrote the copy, and its
time when that was last used.
"""

from __future__ import annotations

import functools
import math
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from heapq import heapify, heappop, heappush
from pathlib import Path
from threading import Lock
from typing import TypeAlias

from pydantic import ByteSize, TypeAdapter, ValidationError

from infra.artifact.cache_folder import cache_folder, claimed
from infra.errors import UserError

_LIMIT = "INSTAFLOW_CACHE_BYTES"
_DEFAULT_SHARE = 0.8  # of the disk: pairs of Stable Diffusion are 210 GB, and each is read many times
_SIZE = TypeAdapter(ByteSize)
_COPIES, _USED, _ARRIVING = "copies", "used", "arriving"
_LOOKS = 64  # while a process brings as many bytes as the limit: what others bring in between, it does not see
_ABANDONED_S = 86_400.0  # after which a file that is still arriving belongs to a killed process
_Held: TypeAlias = tuple[int, str, int]
"""When a copy was last used (ns), its name, its bytes."""


def copy_of(name: str) -> Path:
    """Where the copy of that name lies, whether it is there or not."""
    return cache_folder() / _COPIES / name


def touch(copy: Path) -> None:
    """Say that a copy is in use: the least recently used ones go first."""
    mark = _mark_of(copy)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


@contextmanager
def unnamed() -> Iterator[Path]:
    """A place for a file that will be a copy when it is known what it holds. Raises OSError."""
    part = claimed() / _ARRIVING / uuid.uuid4().hex
    part.parent.mkdir(exist_ok=True)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def cache_limit_bytes() -> int:
    """$INSTAFLOW_CACHE_BYTES (`200GB`, `1.5TiB`, `5000000`), else 80% of what its disk has free without the cache.

    Raises UserError for what is no size.
    """
    limit = _asked_limit()
    return _share(_held(cache_folder())) if limit is None else limit


def room() -> Room:
    """That of this process. Raises UserError for a folder that is somebody's, OSError."""
    return _room(claimed(), os.getpid())


class Room:
    """What this process knows of the room: what it saw at its last look, and did itself since."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, Lock()
        self._by_use: list[_Held] = []  # a heap
        self._arriving: dict[Path, int] = {}  # bytes of what this process brings
        self._held_bytes = self._share_bytes = 0
        self._unseen_bytes = math.inf  # brought since the last look

    @contextmanager
    def arriving(self, copy: Path, size: int) -> Iterator[Path]:
        """A file to be filled with `size` bytes, for which there is room; it then becomes the copy. Raises OSError."""
        part, name = self._folder / _ARRIVING / uuid.uuid4().hex, self._name(copy)
        part.parent.mkdir(exist_ok=True)
        try:
            with self._lock:
                self._arriving[part] = size
                self._unseen_bytes += size
                self._make()
            yield part
            touch(copy)  # first: a copy without its mark stays for ever
            copy.parent.mkdir(parents=True, exist_ok=True)
            with self._lock:  # whoever looks sees it either on its way or held
                part.replace(copy)
                self._held_bytes += self._arriving.pop(part)
                heappush(self._by_use, (time.time_ns(), name, size))
        finally:
            part.unlink(missing_ok=True)
            with self._lock:
                self._arriving.pop(part, None)
        with self._lock:
            self._make(keep=name)  # others may have been on their way when there was nothing to delete

    def _make(self, keep: str = "") -> None:
        """Delete the least recently used copies until all fits; never `keep`."""
        if self._unseen_bytes * _LOOKS > self._limit():
            self._look()
        self._delete_down_to(self._limit() - sum(self._arriving.values()), keep)

    def _delete_down_to(self, limit: int, keep: str) -> None:
        kept: list[_Held] = []
        while self._by_use and self._held_bytes > limit:
            used, name, size = heappop(self._by_use)
            used_since = self._last_use(name)
            if name == keep:
                kept.append((used, name, size))
            elif used_since is not None and used_since > used:
                heappush(self._by_use, (used_since, name, size))
            else:
                self._held_bytes -= size
                if used_since is not None:  # else another process has deleted it
                    self._delete(name)
        for one in kept:
            heappush(self._by_use, one)

    def _last_use(self, name: str) -> int | None:
        with suppress(FileNotFoundError):
            return (self._folder / _USED / name).stat().st_mtime_ns
        return None

    def _delete(self, name: str) -> None:
        for folder in (_COPIES, _USED):
            (self._folder / folder / name).unlink(missing_ok=True)

    def _look(self) -> None:
        self._by_use = _held(self._folder)
        heapify(self._by_use)
        self._held_bytes = sum(size for _, _, size in self._by_use)
        self._share_bytes = _share(self._by_use)
        self._unseen_bytes = 0
        _drop_abandoned(self._folder / _ARRIVING)

    def _limit(self) -> int:
        limit = _asked_limit()
        return self._share_bytes if limit is None else limit

    def _name(self, copy: Path) -> str:
        return str(copy.relative_to(self._folder / _COPIES))


@functools.cache
def _room(folder: Path, process: int) -> Room:
    return Room(folder)


def _held(folder: Path) -> list[_Held]:
    """Every copy in the folder that the cache wrote."""
    found = []
    for root, _, names in os.walk(folder / _USED):
        for name in names:
            mark = Path(root, name)
            with suppress(FileNotFoundError):
                if one := _copy_at(folder, mark):
                    found.append(one)
    return found


def _copy_at(folder: Path, mark: Path) -> _Held | None:
    name, used = str(mark.relative_to(folder / _USED)), mark.stat()
    try:
        return used.st_mtime_ns, name, (folder / _COPIES / name).stat().st_size
    except FileNotFoundError:
        if time.time() - used.st_mtime > _ABANDONED_S:  # else it may be about to arrive
            mark.unlink(missing_ok=True)
        return None


def _drop_abandoned(arriving: Path) -> None:
    for part in arriving.iterdir():
        with suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > _ABANDONED_S:
                part.unlink()


def _mark_of(copy: Path) -> Path:
    return cache_folder() / _USED / copy.relative_to(cache_folder() / _COPIES)


def _share(held: list[_Held]) -> int:
    there = next(one for one in (cache_folder(), *cache_folder().parents) if one.exists())
    return int(_DEFAULT_SHARE * (shutil.disk_usage(there).free + sum(size for _, _, size in held)))


def _asked_limit() -> int | None:
    text = os.environ.get(_LIMIT)
    try:
        return int(_SIZE.validate_python(text)) if text else None
    except ValidationError as error:
        raise UserError(f"{_LIMIT}={text}: expected a size, for instance 200GB or 5000000.") from error
