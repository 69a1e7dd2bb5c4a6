"""Large files to and from S3: up in parts, each tried again alone; down in a stream that goes on where it broke off."""

from __future__ import annotations

import errno
import hashlib
import math
import mimetypes
import os
from asyncio import run_coroutine_threadsafe
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from infra.store.at_once import at_once
from infra.store.s3 import FAILURES, Patience

if TYPE_CHECKING:
    from s3fs import S3FileSystem

PART_BYTES = 16 << 20
"""A larger file is sent in parts of so many bytes: what a failure costs and, times `_AT_ONCE`, what memory holds."""
_AT_ONCE = 4
_MOST_PARTS = 10_000  # S3 takes no more
_CHUNK_BYTES = 1 << 20
_Part: TypeAlias = Callable[[], bytes]
_IsIt: TypeAlias = Callable[[Iterable[bytes]], bool]
"""Whether what the store has is what was sent."""


@dataclass(frozen=True)
class S3File:
    """A key of a bucket."""

    filesystem: S3FileSystem
    bucket: str
    key: str

    @property
    def told(self) -> dict[str, str]:
        """What the store is told of the file beside its content."""
        kind = mimetypes.guess_type(self.key)[0]
        return {} if kind is None else {"ContentType": kind}

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """The answer to one request. Raises what s3fs raises."""
        return self.filesystem.call_s3(method, Bucket=self.bucket, Key=self.key, **arguments)


def send(local: Path, to: S3File, patience: Patience, part_bytes: int = PART_BYTES) -> None:
    """Put a local file, whole or not at all. Raises one of s3.FAILURES, OSError among them for the local file."""
    size = local.stat().st_size
    if size <= part_bytes:
        _send_whole(local.read_bytes(), to, patience)
        return
    step = _step(size, part_bytes)
    with local.open("rb") as file:
        parts = (partial(os.pread, file.fileno(), step, start) for start in range(0, size, step))
        _send_parts(parts, to, patience, _AT_ONCE, lambda found: _same(local, found))


def pass_on(
    chunks: Iterable[bytes], size: int, sha256: str, to: S3File, patience: Patience, part_bytes: int = PART_BYTES
) -> None:
    """Put a file as its chunks come, whole or not at all: it is not there before they end, nor if they raise.

    Raises what they raise, and one of s3.FAILURES.
    """
    if size <= part_bytes:
        _send_whole(b"".join(chunks), to, patience)
        return
    pieces = _gathered(chunks, _step(size, part_bytes))
    _send_parts(
        (partial(bytes, piece) for piece in pieces), to, patience, _AT_ONCE // 2, lambda found: _sha256(found) == sha256
    )


def _step(size: int, part_bytes: int) -> int:
    return max(part_bytes, math.ceil(size / _MOST_PARTS))


def _gathered(chunks: Iterable[bytes], step: int) -> Iterator[bytes]:
    """The same bytes in pieces of that size, but for the last."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= step:
            yield bytes(held[:step])
            del held[:step]
    if held:
        yield bytes(held)


def _send_whole(data: bytes, to: S3File, patience: Patience) -> None:
    patience.ask(lambda: to.call("put_object", Body=data, **to.told))


def _send_parts(parts: Iterable[_Part], to: S3File, patience: Patience, threads: int, is_it: _IsIt) -> None:
    """Send them at the same time, each tried again alone, and have them joined."""
    upload = patience.ask(lambda: to.call("create_multipart_upload", **to.told))["UploadId"]

    def send_part(numbered: tuple[int, _Part]) -> dict[str, Any]:
        """What the store needs to know of the part to join it."""
        number, data = numbered[0], numbered[1]()
        answer = patience.ask(lambda: to.call("upload_part", UploadId=upload, PartNumber=number, Body=data))
        sums = {name: value for name, value in answer.items() if name == "ETag" or name.startswith("Checksum")}
        return {"PartNumber": number, **sums}

    try:
        _join([*at_once(send_part, enumerate(parts, 1), threads)], to, upload, patience, is_it)
    except BaseException:
        with suppress(*FAILURES):  # what a store that is gone keeps of it is a leftover, which gc removes
            to.call("abort_multipart_upload", UploadId=upload)
        raise


def _join(parts: list[dict[str, Any]], to: S3File, upload: str, patience: Patience, is_it: _IsIt) -> None:
    joined = {"Parts": parts}
    try:
        patience.ask(lambda: to.call("complete_multipart_upload", UploadId=upload, MultipartUpload=joined))
    except FileNotFoundError:  # of a request whose answer was lost the store remembers no upload: the bytes decide
        if not is_it(received(to, patience)):
            raise


def _same(local: Path, found: Iterable[bytes]) -> bool:
    with local.open("rb") as file:
        return all(file.read(len(chunk)) == chunk for chunk in found) and not file.read(1)


def _sha256(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def received(place: S3File, patience: Patience) -> Iterator[bytes]:
    """The content, chunk by chunk: one request, and after a failure another for the rest. Raises one of s3.FAILURES."""
    stream = _Stream(place)
    try:
        while chunk := patience.ask(stream.chunk):
            yield chunk
    finally:
        stream.close()


class _Stream:
    """The answer to a request for a file. Whoever asks again after a failure gets the rest."""

    def __init__(self, place: S3File) -> None:
        self._place, self._at = place, 0
        self._body: Any = None
        self._tag: str | None = None

    def chunk(self) -> bytes:
        """The next bytes, none at the end."""
        try:
            body = self._opened()
            data: bytes = run_coroutine_threadsafe(body.read(_CHUNK_BYTES), self._place.filesystem.loop).result()
        except BaseException:
            self.close()
            raise
        self._at += len(data)
        return data

    def close(self) -> None:
        if self._body is not None:
            self._place.filesystem.loop.call_soon_threadsafe(self._body.close)
            self._body = None

    def _opened(self) -> Any:
        if self._body is None:
            answer = self._place.call("get_object", **({"Range": f"bytes={self._at}-"} if self._at else {}))
            self._body, tag = answer["Body"], answer.get("ETag")
            if self._at and tag != self._tag:  # not IfMatch: rclone ignores it
                raise OSError(errno.ESTALE, "it was replaced while it was read")
            self._tag = tag
        return self._body
