"""Where bytes live: a local folder or any fsspec URL, behind a dozen small methods.

Two promises carry the commit protocol: a write is whole or not there, and "not there" is never said for any
other reason than absence. Every other failure of a store is a StoreError.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import urlsplit, urlunsplit

from infra.errors import UserError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_T = TypeVar("_T")
Names: TypeAlias = list[str]  # inside Store the word `list` is a method
Put: TypeAlias = Callable[[Path, Path], object]  # gives a temporary file its name: os.replace, or os.link to create
_TEMPORARY = ".tmp-"
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}  # said by file systems without hard links
_S3 = {"s3", "s3a"}
_CREATES = _S3 | {"gs", "gcs", "memory"}  # can be asked to put a file only if there is none
_FLAT = _S3 | {"gs", "gcs", "abfs", "abfss", "az", "memory"}  # no directories to be made before a write


class StoreError(UserError):
    """The store failed (not: the file is absent). Names the store, the path and the reason."""


class Store(ABC):
    """A tree of immutable files under one root. Paths are relative, POSIX. `open` picks the kind by URL."""

    url: str

    @staticmethod
    def open(url: str | Path) -> Store:
        """The store at a local folder or an fsspec URL; touches nothing yet.

        Raises UserError for credentials in the URL or a protocol that nothing installed speaks.
        """
        text = str(url)
        if "://" not in text:
            return LocalStore(Path(text))
        parts = urlsplit(text)
        if parts.password is not None:
            host = parts.netloc.rpartition("@")[2]
            clean = urlunsplit((parts.scheme, host, parts.path, "", ""))
            raise UserError(
                f"store {clean}: the URL carries a user name and password, which would end up in logs and"
                " manifests; give credentials through the environment or the provider's own files instead"
            )
        if parts.scheme == "file":
            return LocalStore(Path(text.removeprefix("file://")))
        return RemoteStore(text)

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The content; FileNotFoundError only when really absent, StoreError on any other failure."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """Bytes of the file, None when it is really absent."""

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Put a small file, whole or not at all, replacing what was there."""

    @abstractmethod
    def create(self, path: str, data: bytes) -> bool:
        """Put a small file if none is there; whether it was put. A store that knows no such thing replaces: True."""

    @abstractmethod
    def upload(self, local: Path, path: str) -> None:
        """Put a local file, whole or not at all, replacing what was there."""

    @abstractmethod
    def download(self, path: str, local: Path) -> None:
        """Get a file to `local`, whole or not at all; FileNotFoundError only when it is really absent."""

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

    @abstractmethod
    def local_path(self, path: str) -> Path | None:
        """The real path of a file when the store is a local folder, else None."""

    def exists(self, path: str) -> bool:
        """Whether the file is there; an error of the store is raised, never answered with False."""
        return self.size(path) is not None

    def list(self, prefix: str = "") -> Names:
        """Every file below the folder `prefix`, relative to the store, sorted."""
        return [*self.sizes(prefix)]

    def __repr__(self) -> str:
        return f"Store({self.url!r})"


def _checked(path: str) -> str:
    parts = PurePosixPath(path).parts
    assert not path.startswith("/") and ".." not in parts, f"a store path is relative: {path!r}"
    return path


class LocalStore(Store):
    """A folder. A write goes to a temporary file beside its place, is synced, then renamed."""

    def __init__(self, root: Path) -> None:
        self._root = root.expanduser().absolute()
        self.url = str(self._root)

    def _path(self, path: str) -> Path:
        return self._root / _checked(path)

    def local_path(self, path: str) -> Path | None:
        return self._path(path)

    def read(self, path: str) -> bytes:
        with self._reading(path):
            return self._path(path).read_bytes()

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
            reason = error.__cause__
            if isinstance(reason, FileExistsError):
                return False
            if isinstance(reason, OSError) and reason.errno in _NO_LINKS:
                self.write(path, data)
                return True
            raise
        return True

    def upload(self, local: Path, path: str) -> None:
        self._place(path, lambda temporary: shutil.copyfile(local, temporary))

    def download(self, path: str, local: Path) -> None:
        with self._reading(path):
            _whole(local, lambda temporary: shutil.copyfile(self._path(path), temporary))

    def _place(self, path: str, fill: Callable[[Path], object], put: Put | None = None) -> None:
        with self._writing(path):
            _whole(self._path(path), fill, put)

    @contextmanager
    def _writing(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"store {self.url}: cannot write {path}: {_reason(error)}."
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
            raise StoreError(f"store {self.url}: cannot delete {path}: {_reason(error)}") from error

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(
                f"store {self.url}: cannot read {path or 'the folder'}: {_reason(error)}."
                " Check that it is a folder you may read, or name another with --store."
            ) from error


def _files(folder: Path, prefix: str) -> list[tuple[str, os.stat_result]]:
    return sorted((name, info) for name, info in _walk_local(folder, prefix) if not _is_temporary(name))


def _walk_local(folder: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    try:
        entries = [*os.scandir(folder)]
    except FileNotFoundError:
        return
    for entry in entries:
        name = f"{prefix.rstrip('/')}/{entry.name}".lstrip("/")
        if entry.is_dir():
            yield from _walk_local(folder / entry.name, name)
        else:
            try:
                yield name, entry.stat()
            except FileNotFoundError:  # another process swept it between the listing and this line
                continue


def _is_temporary(path: str) -> bool:
    return path.rpartition("/")[2].startswith(_TEMPORARY)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _whole(target: Path, fill: Callable[[Path], object], put: Put | None = None) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f"{_TEMPORARY}{uuid.uuid4().hex}"
    try:
        fill(temporary)
        _sync(temporary)
        (put or os.replace)(temporary, target)
        _sync(target.parent)  # else a power loss may forget the new name
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.rstrip(". ") or type(error).__name__


class RemoteStore(Store):
    """Anything fsspec speaks. One PUT per file and no open-for-writing: s3fs commits torn files that way."""

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url.rstrip("/")
        self._protocol = self.url.partition("://")[0]
        try:
            fsspec.get_filesystem_class(self._protocol)
        except (ValueError, ImportError) as error:
            raise UserError(f"store {self.url}: {error}. Install its fsspec package or use another store.") from error
        self._failures = _failures(self._protocol)
        self._connected: tuple[AbstractFileSystem, str] | None = None
        self._process = -1
        self._root_seen = False

    def _connection(self) -> tuple[AbstractFileSystem, str]:
        # an s3fs object inherited through a fork hangs: one per process, made on first use
        if self._connected is None or self._process != os.getpid():
            from fsspec.core import url_to_fs

            self._connected = url_to_fs(self.url, use_listings_cache=False, skip_instance_cache=True)
            self._process = os.getpid()
        return self._connected

    @property
    def _fs(self) -> AbstractFileSystem:
        return self._connection()[0]

    def _path(self, path: str) -> str:
        return f"{self._connection()[1].rstrip('/')}/{_checked(path)}".rstrip("/")

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_connected": None}

    def local_path(self, path: str) -> Path | None:
        return None

    def read(self, path: str) -> bytes:
        return self._reading(path, lambda: bytes(self._fs.cat_file(self._path(path))))

    def size(self, path: str) -> int | None:
        # not fs.exists: fsspec answers False there for every exception
        try:
            info = self._reading(path, lambda: dict(self._fs.info(self._path(path))))
        except FileNotFoundError:
            return None
        return int(info["size"]) if info["type"] == "file" else None

    def download(self, path: str, local: Path) -> None:
        self._reading(path, lambda: _whole(local, lambda part: self._fs.get_file(self._path(path), str(part))))

    def write(self, path: str, data: bytes) -> None:
        self._writing(path, lambda: self._fs.pipe_file(self._path(path), data))

    def create(self, path: str, data: bytes) -> bool:
        try:
            # not mode="create" everywhere: backends that do not know it take it for one of their own options
            mode = {"mode": "create"} if self._protocol in _CREATES else {}
            self._writing(path, lambda: self._fs.pipe_file(self._path(path), data, **mode))
        except StoreError as error:
            if isinstance(error.__cause__, FileExistsError):
                return False
            raise
        return True

    def upload(self, local: Path, path: str) -> None:
        self._writing(path, lambda: self._fs.put_file(str(local), self._path(path)))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        return {name: int(info["size"]) for name, info in self._files(prefix)}

    def modified(self, prefix: str = "") -> dict[str, datetime]:
        times = {name: _last_modified(info) for name, info in self._files(prefix)}
        return {name: time for name, time in times.items() if time is not None}

    def _files(self, prefix: str) -> list[tuple[str, dict[str, Any]]]:
        try:
            found = self._reading(prefix, lambda: [*self._walk(self._path(prefix))])
        except FileNotFoundError:
            return []
        root = len(self._path("")) + 1
        return sorted(((info["name"][root:], info) for info in found), key=lambda pair: pair[0])

    def _walk(self, folder: str) -> Iterator[dict[str, Any]]:
        # not fs.walk: below the first level it drops every error as if the folder were empty
        if self._protocol in _S3:
            yield from self._fs.find(folder, detail=True).values()
            return
        for info in self._fs.ls(folder, detail=True):
            if info["type"] == "directory":
                yield from self._walk(info["name"])
            else:
                yield info

    def leftovers(self) -> dict[str, datetime]:
        if self._protocol not in _S3:
            return {}
        try:
            pages = self._reading("", lambda: [*self._uploads()])
        except FileNotFoundError:  # rclone says NoSuchUpload when there are none
            return {}
        return {
            f"{upload['Key']}?uploadId={upload['UploadId']}": upload["Initiated"]
            for page in pages
            for upload in page.get("Uploads", [])
        }

    def _uploads(self) -> Iterator[dict[str, Any]]:
        """Pages of the multipart uploads below the store's root that were neither completed nor aborted."""
        bucket, _, prefix = self._path("").partition("/")
        place = {"Bucket": bucket, **({"Prefix": f"{prefix}/"} if prefix else {})}
        page: dict[str, Any] = {"IsTruncated": True}
        while page.get("IsTruncated"):
            after = {name: page[f"Next{name}"] for name in ("KeyMarker", "UploadIdMarker") if f"Next{name}" in page}
            page = self._fs.call_s3("list_multipart_uploads", **place, **after)
            yield page

    def drop_leftover(self, name: str) -> None:
        assert self._protocol in _S3, name
        key, _, upload = name.rpartition("?uploadId=")
        bucket = self._path("").partition("/")[0]
        try:
            self._reading(
                key, lambda: self._fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload)
            )
        except FileNotFoundError:
            return

    def folders(self, prefix: str = "") -> Names:
        try:
            entries = self._reading(prefix, lambda: [*self._fs.ls(self._path(prefix), detail=True)])
        except FileNotFoundError:
            return []
        return sorted(info["name"].rstrip("/").rpartition("/")[2] for info in entries if info["type"] == "directory")

    def delete(self, path: str) -> None:
        try:
            self._reading(path, lambda: self._fs.rm_file(self._path(path)))
        except FileNotFoundError:
            return

    def _writing(self, path: str, put: Callable[[], object]) -> None:
        try:
            if self._protocol not in _FLAT:
                self._fs.makedirs(self._path(path).rpartition("/")[0], exist_ok=True)
            put()
        except self._failures as error:
            raise self._failed("write", path, error) from error

    def _reading(self, path: str, get: Callable[[], _T]) -> _T:
        try:
            return get()
        except FileNotFoundError as error:
            self._require_root(path, error)
            raise
        except self._failures as error:
            raise self._failed("read", path, error) from error

    def _require_root(self, path: str, error: FileNotFoundError) -> None:
        # s3fs says FileNotFoundError for a bucket that does not exist: a broken store, not a missing file
        if self._root_seen or self._protocol not in _S3:
            return
        try:
            self._fs.info(self._path("").partition("/")[0])
        except PermissionError:  # a key may be allowed its prefix and nothing else
            pass
        except self._failures as reason:
            raise self._failed("read", path, reason) from error
        self._root_seen = True

    def _failed(self, verb: str, path: str, error: BaseException) -> StoreError:
        return StoreError(
            f"store {self.url}: cannot {verb} {path or 'the root'}: {type(error).__name__}: {_reason(error)}."
            " Check that the store is up and exists and that your credentials allow this; what is committed"
            " is kept, so the same command goes on from there."
        )


def _last_modified(info: Mapping[str, Any]) -> datetime | None:
    """When a file was written, by whatever name and form its backend says that; None if it does not."""
    for name in ("LastModified", "last_modified", "mtime", "updated", "modified", "created"):
        value = info.get(name)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, (int, float)):
            return _time(value)
    return None


def _failures(protocol: str) -> tuple[type[Exception], ...]:
    """The exceptions by which a backend says that it failed, absence included."""
    if protocol not in _S3:
        return (OSError,)
    from aiohttp import ClientError as HttpError
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

    return (OSError, HttpError, BotoCoreError, ClientError)
