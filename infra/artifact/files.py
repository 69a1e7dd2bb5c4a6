"""Many files as one input, on any store, pinned by what is in them."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from io import BufferedReader
from pathlib import Path

from infra.address import require_public_pattern
from infra.artifact.fingerprint import canonical_json, sha256_bytes
from infra.artifact.stamps import remembered, state_of
from infra.errors import UserError
from infra.store import Store, open_store
from infra.store.ranged import AT_ONCE_BYTES, open_file

HASHED_WHOLE_BYTES = 64 << 20
_PARQUET = b"PAR1"
_WILD = frozenset("*?[")


@dataclass(frozen=True)
class Files:
    """Files of one folder of a store, by relative path and sorted, with their sizes in bytes."""

    uri: str
    store: Store
    sizes: dict[str, int]

    @classmethod
    def open(cls, path: str) -> Files:
        """What lies at `path`: a file, every file of a folder, or all that match a pattern (`*`, `**`, `?`, `[a-z]`).

        `path` is local or of S3. What is hidden (`.name`, `_name`) is left out. Raises UserError when there is
        no file, StoreError.
        """
        require_public_pattern(path, "files")
        folder, pattern = _split(path)
        found = _matching(folder, pattern) if pattern else _one(folder) or _all(folder)
        if not found.sizes:
            start = "" if "://" in path else f"; it starts at {Path.cwd()}"
            raise UserError(f"{path}: no such file or folder, or no file in it. Check the path{start}.")
        return found

    def file(self, name: str) -> BufferedReader:
        """One of the files, to read and seek in. Raises UserError when it is gone by now, StoreError."""
        try:
            return open_file(self.store, name)
        except FileNotFoundError as error:
            raise UserError(f"{self.place(name)}: the file is gone since it was listed. Put it back.") from error

    def place(self, name: str) -> str:
        """Where one of the files lies, in full."""
        return f"{self.store.url.rstrip('/')}/{name}"

    @cached_property
    def digest(self) -> str:
        """Of the files' content, and of their names where there are several."""
        hashes = {name: self._hash(name) for name in self.sizes}
        if len(hashes) == 1:
            return next(iter(hashes.values()))
        return sha256_bytes(canonical_json(sorted(hashes.items())))

    def _hash(self, name: str) -> str:
        """What :meth:`_read_hash` gives, without reading a file that has not changed since it was read."""
        state = self._state(name)
        if state is None:
            return self._read_hash(name)
        return remembered(f"input {self.place(name)}", *state, lambda: self._read_hash(name))

    def _state(self, name: str) -> tuple[str, float] | None:
        """What the file is known by and since when (Unix time), None where that cannot be told."""
        if local := self.store.local_path(name):
            with suppress(OSError):  # whoever reads it says what is wrong
                return state_of(local)
            return None
        written = self._written.get(name)
        return None if written is None else (f"{self.sizes[name]} {int(written.timestamp())}", written.timestamp())

    @cached_property
    def _written(self) -> dict[str, datetime]:
        """When each file was written, where a remote store says so: asked once for all."""
        return self.store.modified(next(iter(self.sizes)) if len(self.sizes) == 1 else "")

    def _read_hash(self, name: str) -> str:
        """sha256 of the file; of a large Parquet file, that of its size and its footer.

        The footer holds the place, the size and the range of every column of every row group: another content shows
        in it unless somebody changes letters of an uncompressed column in place. A plan cannot read 300 GB.
        """
        digest, size = hashlib.sha256(), self.sizes[name]
        with self.file(name) as file:
            if size > HASHED_WHOLE_BYTES:
                file.seek(-8, 2)
                tail = file.read(8)
                if tail[4:] == _PARQUET:
                    file.seek(-min(size, 8 + int.from_bytes(tail[:4], "little")), 2)
                    digest.update(f"{size} ".encode())
                else:
                    file.seek(0)
            while data := file.read(AT_ONCE_BYTES):
                digest.update(data)
        return digest.hexdigest()


def _split(path: str) -> tuple[str, str]:
    """The part before the first component with a wildcard, and the rest."""
    scheme, found, rest = path.rpartition("://")
    parts = rest.split("/")
    wild = next((at for at, part in enumerate(parts) if _WILD & {*part}), len(parts))
    folder = "/".join(parts[:wild]) or ("/" if rest.startswith("/") else ".")
    return f"{scheme}{found}{folder}", "/".join(parts[wild:])


def _one(path: str) -> Files | None:
    """The path as one file in its folder, None when it is no file."""
    scheme, found, rest = path.rstrip("/").rpartition("://")
    folder, _, name = rest.rpartition("/")
    if not name or (found and not folder):  # a root
        return None
    store = open_store(f"{scheme}{found}{folder or ('/' if rest.startswith('/') else '.')}")
    size = store.size(name)
    return None if size is None else Files(f"{store.url.rstrip('/')}/{name}", store, {name: size})


def _all(folder: str) -> Files:
    store = open_store(folder)
    hidden = (".", "_")
    sizes = store.sizes().items()
    shown = {name: size for name, size in sizes if not any(part.startswith(hidden) for part in name.split("/"))}
    return Files(store.url, store, shown)


def _matching(folder: str, pattern: str) -> Files:
    from fsspec.utils import glob_translate  # brings fsspec, which a plain path does not need

    every, matches = _all(folder), re.compile(glob_translate(pattern)).match
    sizes = {name: size for name, size in every.sizes.items() if matches(name)}
    return Files(f"{every.uri.rstrip('/')}/{pattern}", every.store, sizes)
