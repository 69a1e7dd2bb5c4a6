"""`artifacts verify` and `artifacts cp` of an artifact on S3, beside what rclone copies of the same bytes, in turns."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from infra.artifact import Artifact
from infra.store import open_store
from infra.store.at_once import AT_ONCE
from infra.upkeep.transfer import FILES_AT_ONCE, copy
from infra.upkeep.verify import damages
from tests.benchmarks.random_files import commit_random
from tests.benchmarks.row import Options, Row, at_least, spread
from tests.s3 import BUCKET, S3Server, rclone_server

ROUNDS, FILES, FILE_BYTES = 5, 64, 8 * 2**20
LEAST_SHARE = 0.8
Work = Callable[[int], object]


def measure(options: Options) -> list[Row]:
    """Shares of rclone's speed on one S3 server: of its copying to a folder, and of its copying to S3."""
    with tempfile.TemporaryDirectory(prefix="instaflow-bench-") as folder, rclone_server(Path(folder) / "s") as server:
        with mock.patch.dict(os.environ, server.environment()):
            artifact = commit_random(open_store(f"s3://{BUCKET}/store"), FILES, FILE_BYTES)
            rclone = _Rclone(server, artifact, Path(folder))
            return [
                _row("verify", rclone.to_a_folder, lambda _: _verify(artifact)),
                _row("cp to a folder", rclone.to_a_folder, lambda number: _copy(artifact, f"{folder}/{number}")),
                _row("cp to S3", rclone.to_s3, lambda number: _copy(artifact, f"s3://{BUCKET}/{number}")),
            ]


def _row(name: str, theirs: Work, ours: Work) -> Row:
    rates: dict[Work, list[float]] = {theirs: [], ours: []}
    for number in range(ROUNDS):
        for work in rates:
            rates[work].append(_speed(work, number))
    shares = [mine / limit for mine, limit in zip(rates[ours], rates[theirs], strict=True)]
    detail = (
        f"{spread(rates[ours])} MB/s, `rclone copy` {spread(rates[theirs])}; median of {ROUNDS} (range), in turns,"
        f" {FILES} files of {FILE_BYTES / 2**20:g} MiB, as many transfers at a time; the server has the same cores"
    )
    return at_least(f"{name} from S3, of rclone's speed", shares, LEAST_SHARE, detail)


def _speed(work: Work, number: int) -> float:
    started = time.perf_counter()
    work(number)
    return FILES * FILE_BYTES / 1e6 / (time.perf_counter() - started)


def _verify(artifact: Artifact) -> None:
    assert not [*damages(artifact)]


def _copy(artifact: Artifact, target: str) -> None:
    assert copy(artifact, open_store(target))


class _Rclone:
    """The command, told of the server by its environment."""

    def __init__(self, server: S3Server, artifact: Artifact, folder: Path) -> None:
        self._source, self._folder = artifact.uri.removeprefix("s3://"), folder
        self._environment = {"RCLONE_CONFIG": os.devnull, **_remote("FROM", server), **_remote("TO", server)}

    def to_a_folder(self, number: int) -> None:
        self._run(str(self._folder / uuid.uuid4().hex), AT_ONCE)

    def to_s3(self, number: int) -> None:
        self._run(f"to:{BUCKET}/theirs-{number}", FILES_AT_ONCE)

    def _run(self, target: str, transfers: int) -> None:
        rclone = str(Path(sys.executable).with_name("rclone"))
        how = [f"--transfers={transfers}", "--disable=copy"]  # else a server may copy by itself
        command = [rclone, "copy", *how, f"from:{self._source}", target]
        subprocess.run(command, check=True, env={**os.environ, **self._environment})


def _remote(name: str, server: S3Server) -> dict[str, str]:
    # two names for one server: copies between them are not left to it
    settings = {"TYPE": "s3", "PROVIDER": "Other", "ENV_AUTH": "true", "ENDPOINT": server.endpoint}
    return {f"RCLONE_CONFIG_{name}_{key}": value for key, value in settings.items()}
