"""A training beside one busy process on the same cores: how much slower than alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.benchmarks.command import ROOT
from tests.benchmarks.row import Options, Row, at_most_times, spread

ROUNDS, LIMIT = 3, 3.0
WARM_UP_S, MEASURED_S = 3.0, 10.0
BATCH = 64
NAME = "training beside a busy process"
LIBGOMPS_OWN = "300000"
_POLICIES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def measure(options: Options) -> list[Row]:
    """Steps per second of a reflow of the miniature teacher, alone and beside a process that only counts, in turns."""
    ours, spinning = _slowdowns({}), _slowdowns({"GOMP_SPINCOUNT": LIBGOMPS_OWN}, rounds=1)
    alone, beside = zip(*ours, strict=True)
    detail = (
        f"{spread(alone)} steps/s alone, {spread(beside)} beside it, on {os.cpu_count()} cores; with threads that spin"
        f" as long as libgomp has them {spinning[0][0]:.3g} and {spinning[0][1]:.3g}"
    )
    return [at_most_times(NAME, [one / other for one, other in ours], LIMIT, detail)]


def _slowdowns(environment: dict[str, str], rounds: int = ROUNDS) -> list[tuple[float, float]]:
    found = []
    for _ in range(rounds):
        alone = _steps_per_second(environment)
        with _busy():
            found.append((alone, _steps_per_second(environment)))
    return found


@contextmanager
def _busy() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _steps_per_second(environment: dict[str, str]) -> float:
    """In a process of its own, as the threads' policy is read once; none of this machine's settings counts."""
    inherited = {name: value for name, value in os.environ.items() if name not in (*_POLICIES, "OMP_NUM_THREADS")}
    command = [sys.executable, "-m", "tests.benchmarks.contention"]
    run = subprocess.run(
        command, cwd=ROOT, env=inherited | environment, capture_output=True, text=True, check=True, timeout=300
    )
    return float(run.stdout)


def _train() -> float:
    import torch
    from torch import Tensor

    from flows.run.sources import WEIGHTS
    from models.losses import reflow_loss
    from models.pipelines.training import trainable
    from tasks.data.load import load_folder
    from tasks.sections import ReflowJob
    from tasks.stages import STAGES
    from tasks.train.fit import At, Fit, FitPlan

    model = trainable(load_folder(WEIGHTS / "teacher"), "converted")
    velocity, (phase,) = model.velocity(), STAGES["reflow"].extent(ReflowJob(), ()).phases
    training = Fit(model.denoiser, FitPlan.of(ReflowJob(), phase, "none", 1e-4, 0))
    noise, latent = torch.randn(2, BATCH, *model.latent_shape)

    def loss(at: At) -> Tensor:
        condition = model.encode([f"a large red circle {n}" for n in range(BATCH)])
        return reflow_loss(velocity, noise, latent, condition, torch.rand(BATCH), "l2")

    _steps_within(training, loss, WARM_UP_S)
    return _steps_within(training, loss, MEASURED_S) / MEASURED_S


def _steps_within(training: object, loss: object, seconds: float) -> int:
    began, steps = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        training.train(loss)  # type: ignore[attr-defined]
        steps += 1
    return steps


if __name__ == "__main__":
    print(_train())
