"""Random reads through our index against stock WebDataset reading the very same shards, in turns."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import webdataset

from infra.artifact import Artifact, Draft
from infra.environment import utc_now
from infra.fingerprint import fingerprint
from infra.pairs import PairDataset
from infra.shards import IndexRow, Sample, write_index, write_shard
from infra.store import Store
from tests.benchmarks.row import Options, Row, spread

ROUNDS, BATCH, SHARDS, SHARD_SIZE = 5, 64, 8, 512
SHAPE = (4, 8, 8)


def measure(options: Options) -> list[Row]:
    """Samples per second, in batches of tensors with their prompts."""
    with tempfile.TemporaryDirectory(prefix="instaflow-bench-") as folder:
        artifact = _commit(Store.open(Path(folder)))
        started = time.perf_counter()
        data = PairDataset(artifact)
        opened_ms = 1000 * (time.perf_counter() - started)
        shards = [str(artifact.fetch(file)) for file in artifact.files("*.tar")]
        ours, stock = [], []
        for number in range(ROUNDS):
            ours.append(_ours(data, number))
            stock.append(_stock(shards))
    detail = (
        f"stock WebDataset, in order, no shuffle: {spread(stock)}; median of {ROUNDS} (range), {len(data)} pairs of"
        f" {'x'.join(map(str, SHAPE))}, batch {BATCH}, one process; opening with sha256 {opened_ms:.0f} ms"
    )
    return [Row("random reads of pairs, samples per second", spread(ours), "", None, detail)]


def _commit(store: Store) -> Artifact:
    random = np.random.default_rng(0)
    with Draft(store, "pairs", fingerprint("pairs", 1, {}, {})) as draft:
        rows: list[IndexRow] = []
        for shard in range(SHARDS):
            path = draft.workdir / f"shard-{shard:06d}.tar"
            rows += write_shard(path, [_sample(shard * SHARD_SIZE + place, random) for place in range(SHARD_SIZE)])
            draft.commit_unit(path.stem, {path.name: path}, rows=SHARD_SIZE)
        write_index(draft.workdir / "index.parquet", rows)
        draft.commit_unit("index", {"index.parquet": draft.workdir / "index.parquet"})
        return draft.finish(1, {}, {}, {}, {}, utc_now())


def _sample(index: int, random: np.random.Generator) -> Sample:
    noise, latent = random.standard_normal((2, *SHAPE)).astype(np.float32)
    return Sample(f"{index:09d}", noise, latent, "a large red circle on a blue background", index, index)


def _ours(data: PairDataset, seed: int) -> float:
    order = np.random.default_rng(seed).permutation(len(data))
    started = time.perf_counter()
    read = sum(len(data.batch(order[at : at + BATCH])[0]) for at in range(0, len(order), BATCH))
    assert read == len(data)
    return read / (time.perf_counter() - started)


def _stock(shards: list[str]) -> float:
    pipeline = webdataset.WebDataset(shards, shardshuffle=False).decode()
    batches = pipeline.to_tuple("noise.npy", "latent.npy", "json").batched(BATCH)
    started = time.perf_counter()
    read = sum(len(batch[0]) for batch in batches)
    assert read == SHARDS * SHARD_SIZE
    return read / (time.perf_counter() - started)
