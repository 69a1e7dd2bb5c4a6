"""A store behind fsspec: S3, and a process's own memory."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import infra.store.parts as parts
import infra.store.s3 as s3
from infra.address import require_public
from infra.errors import UserError
from infra.store.store import Names, Store, StoreError, checked

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_T = TypeVar("_T")
_CONNECTING = threading.Lock()  # threads that ask at the same time share one connection
os.register_at_fork(before=_CONNECTING.acquire, after_in_parent=_CONNECTING.release, after_in_child=_CONNECTING.release)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PROTOCOLS = s3.PROTOCOLS | {"memory"}


class RemoteStore(Store):
    """Files that are put whole and never opened for writing: s3fs commits torn files that way."""

    def __init__(self, url: str, part_bytes: int = parts.PART_BYTES) -> None:
        self.url = url.rstrip("/")
        self._protocol = self.url.partition("://")[0]
        if self._protocol not in _PROTOCOLS:
            raise UserError(
                f"store {self._protocol}://...: expected a local folder, s3://BUCKET/PATH or s3a://BUCKET/PATH"
                f" (memory:// ends with its process); how {self._protocol} fails is not known. With"
                " `rclone serve s3 REMOTE:` and AWS_ENDPOINT_URL most other storage is reached as S3."
            )
        self._s3 = s3.Settings.from_environment() if self._protocol in s3.PROTOCOLS else None
        self._failures: tuple[type[Exception], ...] = (OSError,) if self._s3 is None else s3.FAILURES
        self._connected: tuple[AbstractFileSystem, str] | None = None
        self._process = -1
        self._part_bytes = part_bytes
        self._root_seen = False

    def _connection(self) -> tuple[AbstractFileSystem, str]:
        # an s3fs object inherited through a fork hangs: one per process, made on first use
        with _CONNECTING:
            if self._connected is None or self._process != os.getpid():
                self._connected = self._connect()
                self._process = os.getpid()
            return self._connected

    def _connect(self) -> tuple[AbstractFileSystem, str]:
        from fsspec.core import url_to_fs

        options = {} if self._s3 is None else s3.options(self._s3)
        filesystem, root = url_to_fs(self.url, use_listings_cache=False, skip_instance_cache=True, **options)
        if self._s3 is not None:
            self._connect_s3(filesystem)
        return filesystem, root

    def _connect_s3(self, filesystem: AbstractFileSystem) -> None:
        filesystem.retries = 1  # not s3fs's own loop between botocore's and ours: it knows no patience
        try:
            filesystem.connect()  # asks nothing of the store yet
            require_public(filesystem.s3.meta.endpoint_url, "AWS_ENDPOINT_URL")
        except UserError:
            self._connected = None
            raise
        except ValueError as error:
            raise StoreError(
                f"store {self.url}: {error}. Check AWS_ENDPOINT_URL (http://HOST:PORT or https://HOST),"
                " AWS_DEFAULT_REGION and what the profile says of them."
            ) from error

    @property
    def _fs(self) -> AbstractFileSystem:
        return self._connection()[0]

    @property
    def _in_one_stream(self) -> dict[str, int]:
        # s3fs asks for the size first and gets larger files in ranges, all held in memory; rclone answers each with the
        # whole file's checksum, which botocore then takes for damage. One request per file is also the faster way.
        return {} if self._s3 is None else {"max_concurrency": 1}

    def _path(self, path: str) -> str:
        return f"{self._connection()[1].rstrip('/')}/{checked(path)}".rstrip("/")

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_connected": None}

    def local_path(self, path: str) -> Path | None:
        return None

    def read(self, path: str) -> bytes:
        return self._reading(path, lambda: bytes(self._fs.cat_file(self._path(path), **self._in_one_stream)))

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        return self._reading(path, lambda: bytes(self._fs.cat_file(self._path(path), start=start, end=stop)))

    def size(self, path: str) -> int | None:
        # not fs.exists: fsspec answers False there for every exception
        try:
            info = self._reading(path, lambda: dict(self._fs.info(self._path(path))))
        except FileNotFoundError:
            return None
        return int(info["size"]) if info["type"] == "file" else None

    def chunks(self, path: str) -> Iterator[bytes]:
        if self._s3 is None:
            yield self.read(path)
            return
        with self._failing("read", path):
            yield from parts.received(self._s3_file(path), self._patience(self._s3))

    def download(self, path: str, local: Path) -> None:
        chunks = self.chunks(path)
        first = next(chunks, b"")  # before there is a file: it may be absent
        local.parent.mkdir(parents=True, exist_ok=True)
        with self._failing("read", path), local.open("wb") as file:
            file.writelines(itertools.chain([first], chunks))

    def write(self, path: str, data: bytes) -> None:
        self._writing(path, lambda: self._fs.pipe_file(self._path(path), data))

    def create(self, path: str, data: bytes) -> bool:
        try:
            self._writing(path, lambda: self._fs.pipe_file(self._path(path), data, mode="create"))
        except StoreError as error:
            if s3.is_taken(error.__cause__):
                return self._holds(path, data)
            raise
        return True

    def upload(self, local: Path, path: str) -> None:
        if self._s3 is None:
            self._writing(path, lambda: self._fs.put_file(str(local), self._path(path)))
            return
        with self._failing("write", path):
            parts.send(local, self._s3_file(path), self._patience(self._s3), self._part_bytes)

    def put(self, path: str, chunks: Iterable[bytes], size: int, sha256: str) -> None:
        if self._s3 is None:
            self._writing(path, lambda: self._fs.pipe_file(self._path(path), b"".join(chunks)))
            return
        with self._failing("write", path):
            parts.pass_on(chunks, size, sha256, self._s3_file(path), self._patience(self._s3), self._part_bytes)

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
        if self._protocol in s3.PROTOCOLS:
            yield from self._fs.find(folder, detail=True).values()
            return
        for info in self._fs.ls(folder, detail=True):
            if info["type"] == "directory":
                yield from self._walk(info["name"])
            else:
                yield info

    def leftovers(self) -> dict[str, datetime]:
        if self._protocol not in s3.PROTOCOLS:
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
        assert self._protocol in s3.PROTOCOLS, name
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
            self._reading(path, lambda: self._fs.rm_file(self._path(path)), verb="delete")
        except FileNotFoundError:
            return

    def delete_many(self, paths: Collection[str]) -> None:
        if self._protocol not in s3.PROTOCOLS:
            return super().delete_many(paths)
        left = [*paths]
        while left:
            some, left = left[: s3.DELETED_AT_ONCE], left[s3.DELETED_AT_ONCE :]
            self._reading(_some(some), partial(self._delete_objects, some), "delete")

    def _delete_objects(self, paths: Sequence[str]) -> None:
        bucket = self._path("").partition("/")[0]
        keys = [{"Key": self._path(path).partition("/")[2]} for path in paths]
        s3.require_deleted(self._fs.call_s3("delete_objects", Bucket=bucket, Delete={"Objects": keys, "Quiet": True}))

    def _writing(self, path: str, put: Callable[[], object]) -> None:
        with self._failing("write", path):
            self._asked(put)

    def _reading(self, path: str, get: Callable[[], _T], verb: str = "read") -> _T:
        with self._failing(verb, path):
            return self._asked(get)

    @contextmanager
    def _failing(self, verb: str, path: str) -> Iterator[None]:
        try:
            yield
        except self._failures as error:
            if isinstance(error, FileNotFoundError) and verb != "write":
                self._require_root(path, error)
                raise
            raise self._failed(verb, path, error) from error

    def _require_root(self, path: str, error: FileNotFoundError) -> None:
        # s3fs says FileNotFoundError for a bucket that does not exist: a broken store, not a missing file
        if self._root_seen or self._protocol not in s3.PROTOCOLS:
            return
        try:
            self._asked(lambda: self._fs.info(self._path("").partition("/")[0]))
        except PermissionError:  # a key may be allowed its prefix and nothing else
            pass
        except self._failures as reason:
            raise self._failed("read", path, reason) from error
        self._root_seen = True

    def _asked(self, ask: Callable[[], _T]) -> _T:
        return ask() if self._s3 is None else self._patience(self._s3).ask(ask)

    def _patience(self, settings: s3.Settings) -> s3.Patience:
        return s3.Patience(settings, f"store {self.url}")

    def _s3_file(self, path: str) -> parts.S3File:
        bucket, _, key = self._path(path).partition("/")
        return parts.S3File(self._fs, bucket, key)

    def _failed(self, verb: str, path: str, error: BaseException) -> StoreError:
        tried = f"; {error}" if isinstance(error, s3.GaveUp) else ""
        failure = error.__cause__ or error if tried else error
        return StoreError(
            f"store {self.url}: cannot {verb} {path or 'the root'}: {s3.describe(failure)}{tried}."
            f" {_advice(failure)}; what is committed is kept, so the same command goes on from there."
        )


def _some(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _last_modified(info: Mapping[str, Any]) -> datetime | None:
    """When a file was written, by whatever name and form its backend says that; None if it does not."""
    for name in ("LastModified", "last_modified", "mtime", "updated", "modified", "created"):
        value = info.get(name)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, (int, float)):
            return datetime.fromtimestamp(value, UTC)
    return None


def _advice(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno in _FULL and error.__cause__ is None:
        return "Make room on this machine's disk (INSTAFLOW_CACHE and TMPDIR name the folders)"
    return s3.clock_advice(error) or ("Check that the store is up and exists and that your credentials allow this")
