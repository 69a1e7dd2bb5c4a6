"""Small pairs artifacts, made without a model."""

from __future__ import annotations

import numpy as np

from infra.artifact import Artifact, Draft
from infra.artifact.fingerprint import fingerprint
from infra.environment import utc_now
from infra.shards.shards import IndexRow, Sample, write_index, write_shard
from infra.store import Store

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


def commit(store: Store, shards: list[list[Sample]]) -> Artifact:
    """An artifact of these shards, with its index."""
    with Draft(store, "pairs", fingerprint("pairs", 1, {}, {})) as draft:
        rows: list[IndexRow] = []
        units = [f"shard-{number:06d}" for number in range(len(shards))]
        for name, samples in zip(units, shards, strict=True):
            rows += write_shard(draft.workdir / f"{name}.tar", samples)
            draft.commit_unit(name, {f"{name}.tar": draft.workdir / f"{name}.tar"}, rows=len(samples))
        write_index(draft.workdir / "index.parquet", rows)
        draft.commit_unit("index", {"index.parquet": draft.workdir / "index.parquet"})
        return draft.finish([*units, "index"], 1, {}, {}, {}, {}, utc_now())
