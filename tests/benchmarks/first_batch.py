"""How soon a training on S3 starts: the shards that its first batches need, in exact global order and over a window."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from infra.artifact import Artifact
from infra.pairs import PairDataset
from infra.store import open_store
from tasks.train.batches import Batches
from tests.benchmarks.large_pairs import SHARD_SIZE, SHARDS, commit_pairs
from tests.benchmarks.row import Options, Row, duration
from tests.s3 import BUCKET, rclone_server

WINDOW, STEPS, BATCH = 64, 100, 64


class _Start(NamedTuple):
    first: int
    later: int
    seconds: float


def measure(options: Options) -> list[Row]:
    """Shards of tiny pairs: what is counted is which, the time is that of so many requests."""
    with tempfile.TemporaryDirectory(prefix="instaflow-bench-") as folder:
        local = commit_pairs(open_store(Path(folder) / "served" / BUCKET / "store"), SHARDS, SHARD_SIZE)
        with rclone_server(Path(folder) / "served") as server, mock.patch.dict(os.environ, server.environment()):
            remote = Artifact.find(open_store(f"s3://{BUCKET}/store"), local.base)
            windowed, whole = (_start(remote, Path(folder) / f"cache-{window}", window) for window in (WINDOW, None))
    size = f"of {SHARDS * SHARD_SIZE / 1e6:.2g} M pairs in {SHARDS:,} shards"
    detail = (
        f"shuffle_shards {WINDOW}: {windowed.later} for {STEPS} steps, first batch after {duration(windowed.seconds)};"
        f" exact: {whole.first}, {whole.later} and {duration(whole.seconds)}; batch {BATCH}, an empty cache"
    )
    most = WINDOW // 2
    return [Row(f"first batch {size}, shards", str(windowed.first), f"at most {most}", windowed.later <= most, detail)]


def _start(remote: Artifact, cache: Path, window: int | None) -> _Start:
    with mock.patch.dict(os.environ, {"INSTAFLOW_CACHE": str(cache), "INSTAFLOW_CACHE_BYTES": "100GB"}):
        pairs = PairDataset(remote)
        batches, started = Batches(pairs, 0, BATCH, window), time.monotonic()
        batches(0)
        first, seconds = len(pairs._shards._maps), time.monotonic() - started
        for step in range(1, STEPS):
            batches(step)
        return _Start(first, len(pairs._shards._maps), seconds)
