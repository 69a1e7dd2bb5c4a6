"""The first pairs of an artifact and what was rejected of it, read with as few bytes as that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flows.observed.whole import table
from infra.artifact import Artifact
from infra.artifact.manifest import FileRecord

PAIRS = 64
"""Pairs of the first shard that are looked at."""
_LARGEST_PAIR = 16 << 20
_COLUMNS = ["shard", "prompt", "noise_offset", "latent_offset", "dtype", "shape"]

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PairSample:
    """Some pairs: prompts, noise and latent [N, C, H, W]."""

    shard: FileRecord
    decoded: FileRecord | None
    """Pictures of the first of them, by the teacher's own decoder; None in those of older versions."""
    prompts: Sequence[str]
    noise: Array
    latent: Array


@dataclass(frozen=True)
class Rejected:
    """A pair that must not be trained on."""

    prompt: str
    reason: str


def pair_sample(artifact: Artifact) -> PairSample | None:
    """The first pairs of the first shard; None where they cannot be read as such. Raises StoreError."""
    for shard in sorted(artifact.files("shard-*.tar"), key=lambda file: file.name)[:1]:
        names = (f"{shard.name.removesuffix('.tar')}.index.parquet", "index.parquet")  # older ones have no first
        index = next((file for name in names for file in artifact.files(name)), None)
        rows = [row for row in (_rows(artifact, index, _COLUMNS) if index else ()) if row["shard"] == shard.name]
        try:
            return _read(artifact, shard, rows[:PAIRS]) if rows else None
        except (ValueError, TypeError, LookupError, FileNotFoundError):
            return None
    return None


def looks_at_rejected(artifact: Artifact, most: int) -> list[tuple[FileRecord, list[Rejected]]]:
    """Pictures of what was put in quarantine, of the first shards that had some, and what stands in each.

    Raises StoreError.
    """
    found = sorted(artifact.files("shard-*.quarantine.webp"), key=lambda file: file.name)[:most]
    return [(file, _rejected(artifact, file.name.replace(".webp", ".parquet"))) for file in found]


def rejected(artifact: Artifact) -> list[Rejected]:
    """What was put in quarantine; nothing where that cannot be read. Raises StoreError."""
    return _rejected(artifact, "quarantine.parquet")


def _rejected(artifact: Artifact, name: str) -> list[Rejected]:
    found = [row for file in artifact.files(name) for row in _rows(artifact, file, ["prompt", "reason"])]
    return [Rejected(str(row["prompt"]), str(row["reason"])) for row in found]


def _rows(artifact: Artifact, file: FileRecord, columns: list[str]) -> list[dict[str, Any]]:
    found = table(artifact, file, columns)
    rows: list[dict[str, Any]] = [] if found is None else found.to_pylist()
    return rows


def _read(artifact: Artifact, shard: FileRecord, rows: Sequence[dict[str, Any]]) -> PairSample:
    """Raises ValueError for offsets beyond the file, and for what is no array of floats."""
    dtype, shape = np.dtype(rows[0]["dtype"]), tuple(rows[0]["shape"])
    count = int(np.prod(shape))
    if dtype.kind != "f" or len(shape) != 3 or not 0 < count * dtype.itemsize <= _LARGEST_PAIR:
        raise ValueError(f"{dtype} {shape} is no latent")
    rows = [row for row in rows if (row["dtype"], tuple(row["shape"])) == (rows[0]["dtype"], shape)]

    def arrays(column: str) -> Array:
        found = [_at(artifact, shard, int(row[column]), count * dtype.itemsize) for row in rows]
        return np.stack([np.frombuffer(data, dtype).reshape(shape) for data in found]).astype(np.float32)

    prompts = [str(row["prompt"]) for row in rows]
    decoded = next(iter(artifact.files(shard.name.replace(".tar", ".webp"))), None)
    return PairSample(shard, decoded, prompts, arrays("noise_offset"), arrays("latent_offset"))


def _at(artifact: Artifact, shard: FileRecord, start: int, size: int) -> bytes:
    if not 0 <= start <= shard.bytes - size:
        raise ValueError(f"{shard.path}: {start} is beyond its end")
    return artifact.store.read_range(f"{artifact.base}/{shard.path}", start, start + size)
