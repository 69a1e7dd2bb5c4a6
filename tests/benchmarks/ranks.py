"""A training by two ranks of one thread each, beside one process of one thread: how much of twice as fast it is."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.benchmarks.command import ROOT
from tests.benchmarks.row import Options, Row, spread

ROUNDS, LEAST = 3, 1.6
WARM_UP_S, MEASURED_S = 3.0, 10.0
BATCH = 64
NAME = "training by 2 ranks of a thread"


def measure(options: Options) -> list[Row]:
    """Samples per second of a reflow of the miniature teacher by two ranks over those of one process, in turns.

    The limit is what two processes would do that never speak: each a step of half the batch at a time.
    """
    found = [
        (_samples_per_second(1, BATCH), _samples_per_second(2, BATCH), 2 * _samples_per_second(1, BATCH // 2))
        for _ in range(ROUNDS)
    ]
    one, two, limits = zip(*found, strict=True)
    ratios, most = ([rate / alone for alone, rate in zip(one, rates, strict=True)] for rates in (two, limits))
    detail = (
        f"{spread(one)} samples/s by one, {spread(two)} by two, batches of {BATCH}, on {os.cpu_count()} cores; two that"
        f" never speak would be {spread(most)} x as fast, for half a batch takes longer than half the time"
    )
    met = statistics.median(ratios) >= LEAST
    return [Row(NAME, f"{spread(ratios)} x", f"at least {LEAST:g} x", met, detail)]


def _samples_per_second(ranks: int, batch: int) -> float:
    """In processes of their own, with the policy of waiting that every entry point sets."""
    command = [sys.executable, "-m", "tests.benchmarks.ranks", str(ranks), str(batch)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=600)
    return float(run.stdout)


def train(told: Path, batch: int, progress: object) -> None:
    """What each rank does; the first one writes its samples per second down."""
    import torch
    from torch import Tensor

    from flows.run.sources import WEIGHTS
    from models.losses import reflow_loss
    from models.pipelines.training import trainable
    from tasks.data.load import load_folder
    from tasks.sections import ReflowJob
    from tasks.stages import STAGES
    from tasks.train import ranks
    from tasks.train.fit import At, Fit, FitPlan
    from tasks.train.together import together

    model = trainable(load_folder(WEIGHTS / "teacher"), "converted")
    velocity, (phase,) = model.velocity(), STAGES["reflow"].extent(ReflowJob(), ()).phases
    noise, latent = torch.randn(2, batch, *model.latent_shape)
    prompts = [f"a large red circle {n}" for n in range(batch)]

    def loss(at: At) -> Tensor:
        condition, sigma = model.encode(prompts[at.rows]), torch.rand(batch)[at.rows]
        return reflow_loss(velocity, noise[at.rows], latent[at.rows], condition, sigma, "l2")

    spread_loss = together(model.denoiser, loss, shard=False)
    plan = replace(FitPlan.of(ReflowJob(), phase, "none", 1e-4, 0), batch_size=batch)
    training = Fit(model.denoiser, plan)
    for seconds in (WARM_UP_S, MEASURED_S):
        began, before, over = time.monotonic(), training.step, False
        while not over:
            training.train(spread_loss)
            (over,) = ranks.agreed(time.monotonic() - began >= seconds)
        rate = (training.step - before) * batch / (time.monotonic() - began)
    if ranks.is_first():
        told.write_text(json.dumps(rate))


def _main(ranks: int, batch: int) -> None:
    from tasks.progress import silent
    from tasks.train.launch import launch
    from tests.benchmarks.ranks import train as job  # by its name, not as __main__'s, for the ranks to find it

    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "rate"
        if ranks == 1:
            job(told, batch, silent)
        else:
            launch(partial(job, told, batch), ranks, silent)
        print(told.read_text())


if __name__ == "__main__":
    _main(*map(int, sys.argv[1:]))
