"""Pair shards: ordinary WebDataset tars, with a Parquet index that points at the raw arrays inside them.

Stock `webdataset` reads the tars; our own reader maps them and goes by the offsets. The bytes depend on the
samples alone: no time, no user. webdataset's ShardWriter is not used: it closes a torn shard as valid.
"""

from __future__ import annotations

import functools
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from infra.artifact.fingerprint import canonical_json

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 512
_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")  # a dot would split webdataset's sample, a slash its folder


@dataclass(frozen=True, slots=True)
class Sample:
    """One pair: the noise [C, H, W] that went into the solver and the latent [C, H, W] that came out."""

    key: str
    noise: npt.NDArray[np.generic]
    latent: npt.NDArray[np.generic]
    prompt: str
    seed: int
    index: int


@dataclass(frozen=True, slots=True)
class IndexRow:
    """Where one pair lies: `shard` is a logical name, the offsets are bytes from the start of that tar."""

    key: str
    index: int
    prompt: str
    seed: int
    shard: str
    noise_offset: int
    latent_offset: int
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """One pair that must not be trained on, and why."""

    index: int
    key: str
    prompt: str
    seed: int
    reason: str


def write_shard(path: Path, samples: Iterable[Sample]) -> list[IndexRow]:
    """Write one tar (KEY.noise.npy, KEY.latent.npy, KEY.json per sample) and say where each array lies.

    Noise and latent of a sample have one dtype and shape. Nothing is left at `path` when `samples` raises.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            rows = [_write_sample(file, sample, path.name) for sample in samples]
            file.write(bytes(2 * _BLOCK))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return rows


def _write_sample(file: BinaryIO, sample: Sample, shard: str) -> IndexRow:
    assert _KEY.fullmatch(sample.key), f"a key is letters, digits, dash and underscore: {sample.key!r}"
    assert sample.noise.shape == sample.latent.shape and sample.noise.dtype == sample.latent.dtype
    noise_offset = _write_array(file, f"{sample.key}.noise.npy", sample.noise)
    latent_offset = _write_array(file, f"{sample.key}.latent.npy", sample.latent)
    provenance = {"key": sample.key, "index": sample.index, "seed": sample.seed, "prompt": sample.prompt}
    _write_member(file, f"{sample.key}.json", canonical_json(provenance))
    return IndexRow(
        key=sample.key,
        index=sample.index,
        prompt=sample.prompt,
        seed=sample.seed,
        shard=shard,
        noise_offset=noise_offset,
        latent_offset=latent_offset,
        dtype=sample.noise.dtype.str,
        shape=sample.noise.shape,
    )


def _write_array(file: BinaryIO, name: str, array: npt.NDArray[np.generic]) -> int:
    header = _npy_header(array.dtype.str, array.shape)
    start = _write_member(file, name, header, np.ascontiguousarray(array).tobytes())
    return start + len(header)


def _write_member(file: BinaryIO, name: str, *pieces: bytes) -> int:
    """Append one tar member; gives the offset of its content."""
    size = sum(map(len, pieces))
    file.write(_tar_header(name, size))
    start = file.tell()
    file.write(b"".join(pieces) + bytes(-size % _BLOCK))
    return start


@functools.lru_cache(maxsize=16)
def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    description = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, description)
    return buffer.getvalue()


def _tar_header(name: str, size: int) -> bytes:
    """A POSIX ustar header (IEEE 1003.1) of a plain file, mode 644, owner and time 0."""
    head = name.encode("ascii").ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"0" * 11
    tail = b"0" + bytes(100) + b"ustar\x0000" + bytes(64 + 16)
    # the checksum is taken with its own eight bytes as spaces
    total = sum(head) + sum(tail) + 8 * ord(" ")
    return (head + b"\0" + b"%06o\0 " % total + tail).ljust(_BLOCK, b"\0")


def write_index(path: Path, rows: Sequence[IndexRow]) -> None:
    """Write index rows as Parquet, one column per field."""
    import pyarrow.parquet as pq

    pq.write_table(_table(rows, index_schema()), path)


def read_index(path: Path) -> list[IndexRow]:
    """Read what `write_index` wrote."""
    return [IndexRow(**{**row, "shape": tuple(row["shape"])}) for row in _rows(path)]


def write_quarantine(path: Path, rows: Sequence[QuarantineRow]) -> None:
    """Write quarantined pairs as Parquet, one column per field."""
    import pyarrow.parquet as pq

    pq.write_table(_table(rows, quarantine_schema()), path)


def read_quarantine(path: Path) -> list[QuarantineRow]:
    """Read what `write_quarantine` wrote."""
    return [QuarantineRow(**row) for row in _rows(path)]


def index_schema() -> pa.Schema:
    """The Parquet schema of an index."""
    import pyarrow as pa

    return pa.schema(
        {
            "key": pa.string(),
            "index": pa.int64(),
            "prompt": pa.string(),
            "seed": pa.int64(),
            "shard": pa.string(),
            "noise_offset": pa.int64(),
            "latent_offset": pa.int64(),
            "dtype": pa.string(),
            "shape": pa.list_(pa.int64()),
        }
    )


def quarantine_schema() -> pa.Schema:
    """The Parquet schema of quarantined pairs."""
    import pyarrow as pa

    return pa.schema(
        {
            "index": pa.int64(),
            "key": pa.string(),
            "prompt": pa.string(),
            "seed": pa.int64(),
            "reason": pa.string(),
        }
    )


def _table(rows: Sequence[IndexRow] | Sequence[QuarantineRow], schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    columns = {name: [getattr(row, name) for row in rows] for name in schema.names}
    return pa.table(columns, schema=schema)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    return iter(pq.read_table(path).to_pylist())
