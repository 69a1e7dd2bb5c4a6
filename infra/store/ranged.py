"""A file of any store as a file object: what is read is fetched, nothing else."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from infra.store.store import Store

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

AT_ONCE_BYTES = 1 << 20
"""Bytes that are fetched at least: a request to a remote store costs as much as a megabyte."""


class Ranged(io.RawIOBase):
    """A file of a store, of `size` bytes, to read and seek in. Reading raises what `Store.read_range` raises."""

    def __init__(self, store: Store, path: str, size: int) -> None:
        self._store, self._path, self._size, self._at = store, path, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        stop = min(self._at + len(view), self._size)
        if stop <= self._at:
            return 0
        data = self._store.read_range(self._path, self._at, stop)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def open_file(store: Store, path: str) -> io.BufferedReader:
    """The file to read and seek in. Raises FileNotFoundError when it is absent, StoreError when the store fails."""
    size = store.size(path)
    if size is None:
        raise FileNotFoundError(f"{store.url}/{path}")
    return io.BufferedReader(Ranged(store, path, size), AT_ONCE_BYTES)
