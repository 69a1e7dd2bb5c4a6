"""From the restart of a killed pair generation to its first new sample, in a fresh process, after its imports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time

from flows.run.sources import given
from infra.artifact import Artifact, Source
from infra.errors import UserError
from infra.store import open_store
from tests.benchmarks.command import ROOT
from tests.benchmarks.row import Options, Row, spread

ROUNDS, LIMIT_S = 3, 5.0
SHARDS, SHARD_SIZE = 4, 64
NAME = "restart to first new sample, s"


def measure(options: Options) -> list[Row]:
    """Kill the generation when half of its shards are there and start it again; the median of the rounds counts."""
    seconds, next_s, imports_s = zip(*(_round(options) for _ in range(ROUNDS)), strict=True)
    median = sorted(seconds)[ROUNDS // 2]
    detail = (
        f"a new process on a half-done store: inputs hashed, teacher loaded, first batch of {SHARD_SIZE} solved; the"
        f" next batch takes {spread(next_s)}, the imports before {spread(imports_s)}; median of {ROUNDS} (range)"
    )
    return [Row(NAME, spread(seconds), f"at most {LIMIT_S:g}", median <= LIMIT_S, detail)]


def _round(options: Options) -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory(prefix="instaflow-bench-") as folder:
        command = [sys.executable, "-m", "tests.benchmarks.restart", folder, options.teacher]
        killed = subprocess.run([*command, "kill"], cwd=ROOT, capture_output=True, text=True, check=False)
        if killed.returncode != -signal.SIGKILL:
            raise UserError(f"restart: the first process ended before it was killed: {killed.stderr[-500:]}")
        again = subprocess.run([*command, "time"], cwd=ROOT, capture_output=True, text=True, check=True)
        seconds, next_s, imports_s = map(float, again.stdout.split())
        return seconds, next_s, imports_s


def _generate(folder: str, teacher: str, then: str) -> None:
    """Make pairs in the store; after two batches say how long they took, or after half the shards be killed."""
    began = time.perf_counter()
    import tasks.data.pairs  # noqa: F401  # what the stage imports
    from tasks.stage import run_stage
    from tasks.stages import STAGES
    from tests.benchmarks.pairs import job_of_mini, prompts_for

    started = time.perf_counter()
    store, (job, perf) = open_store(folder), job_of_mini()
    made = store.folders("prompts")
    prompts = Artifact.open(store, "prompts", made[0]) if made else prompts_for(store, SHARDS * SHARD_SIZE)
    inputs: dict[str, Source] = {"teacher": given("model", teacher), "prompts": prompts}
    reached_s: list[float] = []

    def progress(done: int, total: int, unit: str) -> None:
        reached_s.append(time.perf_counter())
        if then == "kill" and done > SHARDS // 2 * SHARD_SIZE:
            os.kill(os.getpid(), signal.SIGKILL)
        if then == "time" and len(reached_s) == 3:  # the first report says what was there
            print(reached_s[1] - started, reached_s[2] - reached_s[1], started - began, flush=True)
            os._exit(0)

    run_stage(STAGES["pairs"], job.model_copy(update={"shard_size": SHARD_SIZE}), inputs, store, perf, progress)


if __name__ == "__main__":
    _generate(*sys.argv[1:])
