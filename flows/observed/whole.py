"""Small files of artifacts, read whole and only as their manifests know them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from infra.artifact import Artifact
from infra.artifact.manifest import FileRecord

_LARGEST = 32 << 20


def is_intact(file: FileRecord, data: bytes) -> bool:
    """Whether these bytes are what the manifest records."""
    return hashlib.sha256(data).hexdigest() == file.sha256


def small_file(artifact: Artifact, file: FileRecord) -> bytes | None:
    """The bytes of a file; None where it is missing, damaged or too large. Raises StoreError."""
    if file.bytes > _LARGEST:
        return None
    try:
        data = artifact.store.read(f"{artifact.base}/{file.path}")
    except FileNotFoundError:
        return None
    return data if is_intact(file, data) else None


def table(artifact: Artifact, file: FileRecord, columns: Sequence[str]) -> pa.Table | None:
    """These columns of a parquet file; None where it is missing, damaged, too large or has others.

    Raises StoreError.
    """
    data = small_file(artifact, file)
    if data is None:
        return None
    try:
        found = pq.read_table(pa.BufferReader(data), columns=[*columns])
    except pa.ArrowException:
        return None
    return found if {*columns} <= {*found.column_names} else None
