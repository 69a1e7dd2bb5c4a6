"""Our tar writer against `webdataset.ShardWriter`, on the same samples, in turns."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import webdataset

from infra.shards import Sample, write_index, write_shard
from tests.benchmarks.row import Options, Row, spread

ROUNDS = 5
SHAPES = {(4, 8, 8): 2000, (4, 64, 64): 250}


def measure(options: Options) -> list[Row]:
    """Milliseconds per sample for the latents of the miniature world and of Stable Diffusion."""
    return [_row(_samples(shape, count)) for shape, count in SHAPES.items()]


def _row(samples: list[Sample]) -> Row:
    times: dict[str, list[float]] = {"ours": [], "stock": []}
    with tempfile.TemporaryDirectory(prefix="instaflow-bench-") as folder:
        for number in range(ROUNDS):
            for name, write in (("ours", _ours), ("stock", _stock)):
                times[name].append(_milliseconds(write, Path(folder) / f"{name}-{number}.tar", samples))
    shape = "x".join(map(str, samples[0].noise.shape))
    stock = f"webdataset.ShardWriter: {spread(times['stock'])}, without an index; median of {ROUNDS} (range)"
    return Row(f"tar and index of {shape} latents, ms per sample", spread(times["ours"]), "", None, stock)


def _samples(shape: tuple[int, ...], count: int) -> list[Sample]:
    random = np.random.default_rng(0)
    arrays = random.standard_normal((count, 2, *shape)).astype(np.float32)
    prompt = "a large red circle on a blue background"
    return [Sample(f"{index:09d}", noise, latent, prompt, index, index) for index, (noise, latent) in enumerate(arrays)]


def _milliseconds(write: Callable[[Path, list[Sample]], None], path: Path, samples: list[Sample]) -> float:
    started = time.perf_counter()
    write(path, samples)
    return 1000 * (time.perf_counter() - started) / len(samples)


def _ours(path: Path, samples: list[Sample]) -> None:
    write_index(path.with_suffix(".parquet"), write_shard(path, samples))


def _stock(path: Path, samples: list[Sample]) -> None:
    with webdataset.ShardWriter(f"{path}-%06d", maxcount=len(samples) + 1, maxsize=1e12, verbose=0) as writer:
        for one in samples:
            provenance = {"key": one.key, "index": one.index, "seed": one.seed, "prompt": one.prompt}
            writer.write({"__key__": one.key, "noise.npy": one.noise, "latent.npy": one.latent, "json": provenance})
