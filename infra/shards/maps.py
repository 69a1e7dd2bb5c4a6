"""The shards of an artifact, mapped into memory on first use."""

from __future__ import annotations

import logging
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import TypeAlias

import numpy as np

from infra.artifact import Artifact
from infra.artifact.manifest import FileRecord
from infra.artifact.room import cache_limit_bytes, touch
from infra.errors import UserError

Map: TypeAlias = np.memmap[tuple[int], np.dtype[np.uint8]]
_DOWNLOADS = 4  # at once, ahead and as many on demand: one stream gets a fraction of what the line gives
_TRIES = 10
_TOUCH_S = 600.0
_log = logging.getLogger(__name__)


class ShardMaps:
    """Read-only maps of verified shards; those of a remote store together keep to the limit of its cache."""

    def __init__(self, artifact: Artifact, names: Sequence[str]) -> None:
        records = {file.name: file for file in artifact.files("*.tar")}
        self._artifact, self._records = artifact, [records[name] for name in names]
        self._is_remote = artifact.store.local_path("") is None
        self._limit_bytes = cache_limit_bytes() if self._is_remote else 0
        self._maps: OrderedDict[int, Map] = OrderedDict()  # the one used last comes last
        self._mapped_bytes = 0
        self._touched_s = time.monotonic()
        self._ahead: deque[FileRecord] = deque()
        self._warn_if_too_large()

    def open(self, numbers: Sequence[int]) -> dict[int, Map]:
        """The maps of some shards by number. Raises UserError for a damaged shard, StoreError."""
        missing = [number for number in numbers if number not in self._maps]
        for number, made in zip(missing, self._map_all(missing), strict=True):
            self._maps[number] = made
            self._mapped_bytes += made.nbytes
        opened = {number: self._maps[number] for number in numbers}
        if self._is_remote:
            self._keep_to_limit(numbers)
            self._tell_in_use()
        return opened

    def prefetch(self, numbers: Sequence[int]) -> None:
        """Download shards in the background, in this order, as many as the cache may hold."""
        self._ahead.clear()
        if not self._is_remote:
            return
        records = [self._records[number] for number in numbers]
        ends = np.cumsum([record.bytes for record in records])
        self._ahead = deque(records[: int(np.searchsorted(ends, self._limit_bytes, "right"))])
        weakref.finalize(self, self._ahead.clear)  # nobody left to read them
        for _ in range(min(_DOWNLOADS, len(self._ahead))):
            Thread(target=_download, args=(self._artifact, self._ahead), daemon=True).start()

    def _map_all(self, numbers: Sequence[int]) -> list[Map]:
        if len(numbers) < 2:
            return [self._map(number) for number in numbers]
        with ThreadPoolExecutor(_DOWNLOADS) as pool:
            return [*pool.map(self._map, numbers)]

    def _map(self, number: int) -> Map:
        record = self._records[number]
        for _ in range(_TRIES):
            path = self._artifact.fetch(record)
            try:
                return np.memmap(path, np.uint8, "r")
            except FileNotFoundError:  # another process or thread has just made room in the cache
                continue
        raise UserError(
            f"{self._artifact.uri}/{record.path}: gone from the cache before it could be read, {_TRIES} times."
            " Others fill the cache as fast: raise INSTAFLOW_CACHE_BYTES or give this process a cache of its own."
        )

    def _keep_to_limit(self, used: Sequence[int]) -> None:
        # the room of a deleted copy is free again only when nobody maps it
        for number in used:
            self._maps.move_to_end(number)
        while self._mapped_bytes > self._limit_bytes:
            self._mapped_bytes -= self._maps.popitem(last=False)[1].nbytes

    def _tell_in_use(self) -> None:
        # else a training of days would be the first to lose its shards
        if time.monotonic() - self._touched_s > _TOUCH_S:
            self._touched_s = time.monotonic()
            for one in self._maps.values():
                touch(Path(str(one.filename)))

    def _warn_if_too_large(self) -> None:
        size = sum(record.bytes for record in self._records)
        if self._is_remote and size > self._limit_bytes:
            _log.warning(
                "%s: its shards take %d bytes and the cache may hold %d: read in a shuffled order, they are downloaded"
                " again and again. Raise INSTAFLOW_CACHE_BYTES.",
                self._artifact.uri,
                size,
                self._limit_bytes,
            )


def _download(artifact: Artifact, ahead: deque[FileRecord]) -> None:
    while ahead:
        try:
            artifact.fetch(ahead.popleft())
        except IndexError:  # another thread took the last one
            return
        except UserError:  # whoever needs this shard meets the same error and raises it
            return
