"""A store in a local folder."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from infra.store.store import Names, Store, StoreError, checked, reason
from infra.store.whole_file import TEMPORARY, Put, whole

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}  # said by file systems without hard links

_CHUNK_BYTES = 1 << 20


class LocalStore(Store):
    """A folder. A write goes to a temporary file beside its place, is synced, then renamed."""

    def __init__(self, root: Path) -> None:
        self._root = root.expanduser().absolute()
        self.url = str(self._root)

    def _path(self, path: str) -> Path:
        return self._root / checked(path)

    def local_path(self, path: str) -> Path | None:
        return self._path(path)

    def read(self, path: str) -> bytes:
        with self._reading(path):
            return self._path(path).read_bytes()

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        with self._reading(path), self._path(path).open("rb", buffering=0) as file:
            file.seek(start)
            return file.read(stop - start)

    def size(self, path: str) -> int | None:
        with self._reading(path):
            try:
                info = self._path(path).stat()  # not is_file, which answers False to more than absence
                return info.st_size if stat.S_ISREG(info.st_mode) else None
            except FileNotFoundError:
                return None

    def write(self, path: str, data: bytes) -> None:
        self._place(path, lambda temporary: temporary.write_bytes(data))

    def create(self, path: str, data: bytes) -> bool:
        try:
            self._place(path, lambda temporary: temporary.write_bytes(data), os.link)
        except StoreError as error:
            cause = error.__cause__
            if isinstance(cause, FileExistsError):
                return self._holds(path, data)
            if isinstance(cause, OSError) and cause.errno in _NO_LINKS:
                self.write(path, data)
                return True
            raise
        return True

    def upload(self, local: Path, path: str) -> None:
        self._place(path, lambda temporary: shutil.copyfile(local, temporary))

    def put(self, path: str, chunks: Iterable[bytes], size: int, sha256: str) -> None:
        def fill(temporary: Path) -> None:
            with temporary.open("wb") as file:
                file.writelines(chunks)

        self._place(path, fill)

    def download(self, path: str, local: Path) -> None:
        with self._reading(path):
            local.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._path(path), local)

    def chunks(self, path: str) -> Iterator[bytes]:
        with self._reading(path), self._path(path).open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def _place(self, path: str, fill: Callable[[Path], object], put: Put | None = None) -> None:
        with self._writing(path):
            whole(self._path(path), fill, put)

    @contextmanager
    def _writing(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"store {self.url}: cannot write {path}: {reason(error)}."
                " Make the folder writable and see that its disk has room, or name another with --store."
            ) from error

    def sizes(self, prefix: str = "") -> dict[str, int]:
        with self._reading(prefix):
            return {name: info.st_size for name, info in _files(self._path(prefix), prefix)}

    def modified(self, prefix: str = "") -> dict[str, datetime]:
        with self._reading(prefix):
            return {name: _time(info.st_mtime) for name, info in _files(self._path(prefix), prefix)}

    def leftovers(self) -> dict[str, datetime]:
        with self._reading(""):
            found = _walk_local(self._root, "")
            return {name: _time(info.st_mtime) for name, info in found if _is_temporary(name)}

    def drop_leftover(self, name: str) -> None:
        assert _is_temporary(name), name
        self.delete(name)

    def folders(self, prefix: str = "") -> Names:
        with self._reading(prefix):
            try:
                return sorted(entry.name for entry in os.scandir(self._path(prefix)) if entry.is_dir())
            except FileNotFoundError:
                return []

    def delete(self, path: str) -> None:
        try:
            self._path(path).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"store {self.url}: cannot delete {path}: {reason(error)}") from error

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(
                f"store {self.url}: cannot read {path or 'the folder'}: {reason(error)}."
                " Check that it is a folder you may read, or name another with --store."
            ) from error


def _files(folder: Path, prefix: str) -> list[tuple[str, os.stat_result]]:
    return sorted((name, info) for name, info in _walk_local(folder, prefix) if not _is_temporary(name))


def _walk_local(folder: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    waiting = [(str(folder), prefix.rstrip("/"))]
    while waiting:
        path, above = waiting.pop()
        try:
            entries = [*os.scandir(path)]
        except FileNotFoundError:
            continue
        for entry in entries:
            name = f"{above}/{entry.name}" if above else entry.name
            if entry.is_dir():
                waiting.append((entry.path, name))
                continue
            try:
                yield name, entry.stat()
            except FileNotFoundError:  # another process swept it between the listing and this line
                continue


def _is_temporary(path: str) -> bool:
    return path.rpartition("/")[2].startswith(TEMPORARY)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
