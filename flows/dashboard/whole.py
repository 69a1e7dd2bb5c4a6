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


def table(artifact: Artifact, file: FileRecord, columns: Sequence[str]) -> pa.Table | None:
    """These columns of a parquet file; None where it is missing, damaged, too large or has others.

    Raises StoreError.
    """
    if file.bytes > _LARGEST:
        return None
    try:
        data = artifact.store.read(f"{artifact.base}/{file.path}")
        found = pq.read_table(pa.BufferReader(data), columns=[*columns]) if is_intact(file, data) else None
    except (FileNotFoundError, pa.ArrowException):
        return None
    return found if found is not None and {*columns} <= {*found.column_names} else None
