"""Reading pairs in global random order, from S3 into an empty cache and from the cache, on a real S3 server.

Beside each, in turns, stock WebDataset on the very same shards (in order: it has no global shuffle), and the bare
bytes as the limit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec
from unittest import mock

import numpy as np
import webdataset
from botocore.config import Config
from botocore.session import Session

from infra.artifact import Artifact, Draft
from infra.artifact.cache_folder import cache_folder
from infra.artifact.fingerprint import fingerprint
from infra.environment import utc_now
from infra.pairs import PairDataset
from infra.shards.shards import IndexRow, Sample, write_index, write_shard
from infra.store import Store, open_store
from tasks.train.batches import Batches
from tests.benchmarks.row import Options, Row, at_least_of, spread
from tests.s3 import BUCKET, rclone_server

ROUNDS, BATCH, SHARDS, SHARD_SIZE = 5, 64, 16, 256
SHAPE = (4, 64, 64)
LEAST_OF_READING, LEAST_OF_CURL = 0.35, 0.2
Rates = dict[str, list[float]]
P = ParamSpec("P")


def measure(options: Options) -> list[Row]:
    """Shares of the bare bytes' samples per second; ours are batches of float32 tensors with their prompts."""
    cold: Rates = {"ours": [], "stock": [], "raw": []}
    cached: Rates = {"ours": [], "stock": [], "raw": []}
    with tempfile.TemporaryDirectory(prefix="instaflow-bench-") as folder, _served(Path(folder)) as artifact:
        urls = _urls(artifact)
        for number in range(ROUNDS):
            _forget()
            cold["ours"].append(_rate(_cold, artifact, number))
            cold["stock"].append(_rate(_stock, urls))
            cold["raw"].append(_rate(_get, urls))
        data, shards = PairDataset(artifact), [artifact.fetch(file) for file in artifact.files("*.tar")]
        _ours(data, ROUNDS)  # maps the shards
        for number in range(ROUNDS):
            cached["ours"].append(_rate(_ours, data, number))
            cached["stock"].append(_rate(_stock, [*map(str, shards)]))
            cached["raw"].append(_rate(_read, shards))
    shape = "x".join(map(str, SHAPE))
    return [
        _row(f"reads of {shape} pairs, of the speed of reading the files", cached, LEAST_OF_READING),
        _row("the same through S3, empty cache, of curl's speed to /dev/null", cold, LEAST_OF_CURL),
    ]


def _row(name: str, rates: Rates, least: float) -> Row:
    detail = (
        f"samples/s; stock WebDataset, in order, on one thread and without hashing: {spread(rates['stock'])}; median"
        f" of {ROUNDS} (range), in turns, {SHARDS} shards of {SHARD_SIZE}, batch {BATCH}, one process that fetches"
        " four shards at once, global random order, sha256 of every shard when it comes"
    )
    return at_least_of(name, rates["ours"], rates["raw"], least, detail)


@contextmanager
def _served(folder: Path) -> Iterator[Artifact]:
    with rclone_server(folder / "served") as server:
        here = {**server.environment(), "INSTAFLOW_CACHE": str(folder / "cache"), "INSTAFLOW_CACHE_BYTES": "100GB"}
        with mock.patch.dict(os.environ, here):
            yield _commit(open_store(f"s3://{BUCKET}/store"))


def _commit(store: Store) -> Artifact:
    random = np.random.default_rng(0)
    with Draft(store, "pairs", fingerprint("pairs", 1, {}, {})) as draft:
        rows: list[IndexRow] = []
        for shard in range(SHARDS):
            path = draft.workdir / f"shard-{shard:06d}.tar"
            rows += write_shard(path, [_sample(shard * SHARD_SIZE + place, random) for place in range(SHARD_SIZE)])
            draft.commit_unit(path.stem, {path.name: path}, rows=SHARD_SIZE)
            path.unlink()
        write_index(draft.workdir / "index.parquet", rows)
        draft.commit_unit("index", {"index.parquet": draft.workdir / "index.parquet"})
        return draft.finish([*draft.units()], 1, {}, {}, {}, {}, utc_now())


def _sample(index: int, random: np.random.Generator) -> Sample:
    noise, latent = random.standard_normal((2, *SHAPE), np.float32)
    return Sample(f"{index:09d}", noise, latent, "a large red circle on a blue background", index, index)


def _rate(read: Callable[P, int], *arguments: P.args, **named: P.kwargs) -> float:
    started = time.perf_counter()
    count = read(*arguments, **named)
    assert count == SHARDS * SHARD_SIZE
    return count / (time.perf_counter() - started)


def _forget() -> None:
    """The state of a machine that has seen none of it."""
    shutil.rmtree(cache_folder(), ignore_errors=True)


def _cold(artifact: Artifact, seed: int) -> int:
    return _ours(PairDataset(artifact), seed)


def _ours(data: PairDataset, seed: int) -> int:
    batches = Batches(data, seed, BATCH)  # as a training reads them: one epoch
    return sum(len(batches(step)[0]) for step in range(len(data) // BATCH))


def _stock(urls: list[str]) -> int:
    pipeline = webdataset.WebDataset(urls, shardshuffle=False).decode()
    return sum(len(batch[0]) for batch in pipeline.to_tuple("noise.npy", "latent.npy", "json").batched(BATCH))


def _urls(artifact: Artifact) -> list[str]:
    """Signed addresses for readers that know nothing of S3."""
    client = Session().create_client("s3", config=Config(signature_version="s3v4"))
    bucket, _, prefix = artifact.uri.removeprefix("s3://").partition("/")
    return [
        client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": f"{prefix}/{file.path}"})
        for file in artifact.files("*.tar")
    ]


def _get(urls: list[str]) -> int:
    subprocess.run(
        ["curl", "--no-progress-meter", "--fail", "--parallel", *urls], check=True, stdout=subprocess.DEVNULL
    )
    return SHARDS * SHARD_SIZE


def _read(paths: list[Path]) -> int:
    buffer = bytearray(2**20)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return SHARDS * SHARD_SIZE
