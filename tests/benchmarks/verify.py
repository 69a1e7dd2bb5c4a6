"""`artifacts verify` on local files, beside the sha256 of the same bytes and a raw read of them, in turns."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from infra.artifact import Artifact
from infra.artifact.fingerprint import sha256_file
from infra.store import open_store
from infra.upkeep.verify import damages
from tests.benchmarks.random_files import commit_random
from tests.benchmarks.row import Options, Row, at_least_of, spread

ROUNDS, FILES, FILE_BYTES = 5, 8, 64 * 2**20
LEAST_OF_SHA256 = 0.9


def measure(options: Options) -> list[Row]:
    """Share of what one core hashes; the files are in the page cache."""
    with tempfile.TemporaryDirectory(prefix="instaflow-bench-") as folder:
        artifact = commit_random(open_store(Path(folder)), FILES, FILE_BYTES)
        files = [artifact.fetch(file) for file in artifact.manifest.files]
        found: dict[str, list[float]] = {"verify": [], "sha256": [], "read": []}
        for _ in range(ROUNDS):
            found["verify"].append(_speed(lambda: _sound(artifact)))
            found["sha256"].append(_speed(lambda: [sha256_file(file) for file in files]))
            found["read"].append(_speed(lambda: [_read(file) for file in files]))
    detail = (
        f"GB/s, reading them alone {spread(found['read'])}; median of {ROUNDS} (range), in turns, {FILES} files of"
        f" {FILE_BYTES // 2**20} MiB"
    )
    name = "verify, of the speed of sha256 on one core"
    return [at_least_of(name, found["verify"], found["sha256"], LEAST_OF_SHA256, detail)]


def _speed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return FILES * FILE_BYTES / 1e9 / (time.perf_counter() - started)


def _sound(artifact: Artifact) -> None:
    assert not [*damages(artifact)]


def _read(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(2**20):
            pass
