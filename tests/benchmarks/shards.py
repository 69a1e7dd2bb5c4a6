"""Our tar writer against `webdataset.ShardWriter`, on the same samples, in turns; alone and with the upload to S3."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import webdataset

from infra.artifact import Draft
from infra.artifact.fingerprint import fingerprint
from infra.shards.shards import Sample, write_index, write_shard
from infra.store import Store, open_store
from tests.benchmarks.row import Options, Row, at_most_times, spread
from tests.s3 import BUCKET, rclone_server

ROUNDS, MOST_OF_UPLOAD = 5, 2.0
SHAPES = {(4, 8, 8): 2000, (4, 64, 64): 250}


def measure(options: Options) -> list[Row]:
    """Milliseconds per sample for the latents of the miniature world and of Stable Diffusion."""
    return [*(_row(_samples(shape, count)) for shape, count in SHAPES.items()), _committed()]


def _committed() -> Row:
    """Shards of Stable Diffusion's latents as the stage `pairs` leaves them: hashed and in the store."""
    samples = _samples(*list(SHAPES.items())[-1])
    times: dict[str, list[float]] = {"ours": [], "stock": [], "raw": []}
    with tempfile.TemporaryDirectory(prefix="instaflow-bench-") as folder, rclone_server(Path(folder) / "s") as server:
        with mock.patch.dict(os.environ, server.environment()):
            store = open_store(f"s3://{BUCKET}/store")
            _put(store, Path(folder) / "warm-up.tar", samples)  # connects
            for number in range(ROUNDS):
                for name, write in (("ours", _commit), ("stock", _put), ("raw", _raw)):
                    path = Path(folder) / f"{name}-{number}.tar"
                    times[name].append(_milliseconds(partial(write, store), path, samples))
    shape = "x".join(map(str, samples[0].noise.shape))
    detail = (
        f"{spread(times['ours'])} of {spread(times['raw'])} ms per sample: tar, index, sha256, upload through `rclone"
        f" serve s3`, unit record; webdataset.ShardWriter and an upload, without hash, index and record:"
        f" {spread(times['stock'])}; median of {ROUNDS} (range), in turns, {len(samples)} samples a shard"
    )
    ratios = [ours / raw for ours, raw in zip(times["ours"], times["raw"], strict=True)]
    return at_most_times(f"writing {shape} pairs to S3, of a bare upload's time", ratios, MOST_OF_UPLOAD, detail)


def _commit(store: Store, path: Path, samples: list[Sample]) -> None:
    _ours(path, samples)
    files = {one.name: one for one in (path, path.with_suffix(".parquet"))}
    with Draft(store, "pairs", fingerprint("pairs", 1, {"name": path.stem}, {})) as draft:
        draft.commit_unit(path.stem, files, rows=len(samples))


def _put(store: Store, path: Path, samples: list[Sample]) -> None:
    _stock(path, samples)
    store.upload(Path(f"{path}-000000"), path.name)


def _raw(store: Store, path: Path, samples: list[Sample]) -> None:
    store.upload(path.with_name("warm-up.tar-000000"), path.name)


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
