"""Small pairs artifacts, made without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from infra.artifact import Artifact, Draft
from infra.artifact.fingerprint import fingerprint
from infra.environment import utc_now
from infra.shards.shards import IndexRow, QuarantineRow, Sample, write_index, write_quarantine, write_shard
from infra.store import Store
from tasks.data.strip import side_by_side

SHAPE = (2, 3, 4)


def sample(index: int, dtype: str = "float32", shape: tuple[int, ...] = SHAPE) -> Sample:
    """The pair that belongs to an index."""
    random = np.random.default_rng(index)
    noise, latent = random.standard_normal((2, *shape)).astype(dtype)
    return Sample(f"{index:06d}", noise, latent, f'prompt "{index}" 🐈', index, index)


def shards(counts: list[int], dtype: str = "float32") -> list[list[Sample]]:
    """Shards of so many pairs each, numbered through."""
    starts = np.cumsum([0, *counts])
    return [
        [sample(int(start) + index, dtype) for index in range(count)]
        for start, count in zip(starts, counts, strict=False)
    ]


def commit(store: Store, shards: list[list[Sample]], rejected: Sequence[QuarantineRow] = ()) -> Artifact:
    """An artifact of these shards, with its index; where pairs are rejected, a look at them and at the first shard."""
    with Draft(store, "pairs", fingerprint("pairs", 1, {}, {})) as draft:
        rows: list[IndexRow] = []
        units = [f"shard-{number:06d}" for number in range(len(shards))]
        for name, samples in zip(units, shards, strict=True):
            rows += write_shard(draft.workdir / f"{name}.tar", samples)
            blobs = {f"{name}.tar": draft.workdir / f"{name}.tar", **_looks(draft.workdir, name, rejected)}
            pictures = [blob for blob in blobs if blob.endswith(".webp")]
            draft.commit_unit(name, blobs, rows=len(samples), volatile=pictures)
        write_index(draft.workdir / "index.parquet", rows)
        draft.commit_unit("index", {"index.parquet": draft.workdir / "index.parquet"})
        return draft.finish([*units, "index"], 1, {}, {}, {}, {}, utc_now())


def picture(colour: str, count: int) -> bytes:
    """A strip of so many pictures of one colour."""
    return side_by_side([Image.new("RGB", (32, 32), colour)] * count, 192)


def _looks(folder: Path, shard: str, rejected: Sequence[QuarantineRow]) -> dict[str, Path]:
    if not rejected or not shard.endswith("000000"):
        return {}
    files = {name: folder / name for name in (f"{shard}.webp", f"{shard}.quarantine.webp", "quarantine.parquet")}
    files[f"{shard}.quarantine.parquet"] = folder / "quarantine.parquet"
    write_quarantine(folder / "quarantine.parquet", rejected)
    for path, colour in zip(files.values(), ("teal", "maroon"), strict=False):
        path.write_bytes(picture(colour, len(rejected)))
    return files
