"""Large files to and from S3: up in parts, each tried again alone; down in a stream that goes on where it broke off."""

from __future__ import annotations

import errno
import math
import mimetypes
import os
from asyncio import run_coroutine_threadsafe
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.store.at_once import at_once
from infra.store.s3 import FAILURES, Patience

if TYPE_CHECKING:
    from s3fs import S3FileSystem

PART_BYTES = 16 << 20
"""A larger file is sent in parts of so many bytes: what a failure costs and, times `_AT_ONCE`, what memory holds."""
_AT_ONCE = 4
_MOST_PARTS = 10_000  # S3 takes no more
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class S3File:
    """A key of a bucket."""

    filesystem: S3FileSystem
    bucket: str
    key: str

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """The answer to one request. Raises what s3fs raises."""
        return self.filesystem.call_s3(method, Bucket=self.bucket, Key=self.key, **arguments)


def send(local: Path, to: S3File, patience: Patience, part_bytes: int = PART_BYTES) -> None:
    """Put a local file, whole or not at all. Raises one of s3.FAILURES, OSError among them for the local file."""
    size = local.stat().st_size
    kind = mimetypes.guess_type(to.key)[0]
    told = {} if kind is None else {"ContentType": kind}
    if size <= part_bytes:
        data = local.read_bytes()
        patience.ask(lambda: to.call("put_object", Body=data, **told))
        return
    upload = patience.ask(lambda: to.call("create_multipart_upload", **told))["UploadId"]
    try:
        parts = _send_parts(local, to, upload, patience, max(part_bytes, math.ceil(size / _MOST_PARTS)))
        _complete(local, to, upload, patience, parts)
    except BaseException:
        with suppress(*FAILURES):  # what a store that is gone keeps of it is a leftover, which gc removes
            to.call("abort_multipart_upload", UploadId=upload)
        raise


def _send_parts(local: Path, to: S3File, upload: str, patience: Patience, part_bytes: int) -> list[dict[str, Any]]:
    """What the store needs to know of each part to join them."""

    def part(start: int) -> dict[str, Any]:
        number = start // part_bytes + 1
        data = os.pread(file.fileno(), part_bytes, start)
        answer = patience.ask(lambda: to.call("upload_part", UploadId=upload, PartNumber=number, Body=data))
        sums = {name: value for name, value in answer.items() if name == "ETag" or name.startswith("Checksum")}
        return {"PartNumber": number, **sums}

    with local.open("rb") as file:
        return [*at_once(part, range(0, local.stat().st_size, part_bytes), _AT_ONCE)]


def _complete(local: Path, to: S3File, upload: str, patience: Patience, parts: list[dict[str, Any]]) -> None:
    joined = {"Parts": parts}
    try:
        patience.ask(lambda: to.call("complete_multipart_upload", UploadId=upload, MultipartUpload=joined))
    except FileNotFoundError:  # of a request whose answer was lost the store remembers no upload: the bytes decide
        if not _same(local, received(to, patience)):
            raise


def _same(local: Path, found: Iterator[bytes]) -> bool:
    with local.open("rb") as file:
        return all(file.read(len(chunk)) == chunk for chunk in found) and not file.read(1)


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
