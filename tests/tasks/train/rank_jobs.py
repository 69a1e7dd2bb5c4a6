"""What ranks do in tests: small trainings whose every step is written down, imported by processes of their own."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

import tasks.train.fit
from infra import stopping
from infra.artifact import Artifact, Draft
from infra.artifact.fingerprint import fingerprint
from infra.store.local import LocalStore
from tasks.order import Draws, batch_ids
from tasks.progress import Progress, silent
from tasks.sections import Performance, Trained
from tasks.stage import StageResult, StageWork, Units, Work, run_stage
from tasks.stages import Extent, Group, Phase, Stage, Unit
from tasks.train import ranks
from tasks.train.fit import At, FitPlan, Loss, fit
from tasks.train.launch import by_ranks

STEPS, BATCH, SEED = 20, 12, 3
FINGERPRINT = fingerprint("stage", 1, {}, {})


def network() -> nn.Module:
    """A stack of layers, one of them frozen, with convolutions whose weights do not divide by 2 or 3."""
    torch.manual_seed(0)
    layers = nn.ModuleList([nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 5, 3, padding=1), nn.Conv2d(5, 7, 1)])
    layers[1].requires_grad_(False)
    return Stack(layers).to(memory_format=torch.channels_last)


class Stack(nn.Module):
    """Layers in a row, then a linear one."""

    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self.layers, self.end = layers, nn.Linear(7, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 1]."""
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.end(x.mean((2, 3)))


def regression(module: nn.Module, seen: list[list[int]] | None = None) -> Loss:
    """A loss of the step alone; `seen` is told which rows were asked for."""
    x = torch.randn(40, 3, 4, 4, generator=torch.Generator().manual_seed(1))

    def loss(at: At) -> Tensor:
        ids = batch_ids(SEED, at.step, BATCH, len(x))[at.rows]
        if seen is not None:
            seen.append([at.step, *ids.tolist()])
        noise = Draws("noise", at.step).normal(BATCH, 1)[at.rows]
        return (module(x[ids]) - x[ids].sum((1, 2, 3))[:, None] / 10 - 0.1 * noise).square().mean()

    return loss


def plan(**changes: Any) -> FitPlan:
    """Twenty steps, a checkpoint every tenth."""
    fields: dict[str, Any] = {
        "phase": "train", "steps": STEPS, "batch_size": BATCH, "learning_rate": 0.02, "warmup_steps": 5,
        "ema_decay": 0.9, "checkpoint_every_steps": 10, "checkpoint_every_minutes": 1e6, "seed": 7, "data": "d" * 64,
    }  # fmt: skip
    return FitPlan(**fields | changes)


def _extent(config: Trained, roles: Collection[str]) -> Extent:
    phases = (Phase("train", STEPS, BATCH, "model"),)
    return Extent(((Unit("model", STEPS),),), unit="steps", piece="steps", phases=phases)


STAGE = Stage("stage", 1, Trained, f"{__name__}:Regression", "Train", _extent, ranks=True)
EVERY_STEP = patch.object(tasks.train.fit, "LOG_EVERY_STEPS", 1)


class Regression(StageWork[Trained]):
    """A stage that is one such training; it commits its losses."""

    def make(self, group: Group) -> None:
        """Train."""
        module = network()
        with EVERY_STEP:
            curve = fit(module, regression(module), plan(), self.work)
        if ranks.is_first():
            losses = self.out.workdir / "losses.json"
            losses.write_text(json.dumps([point.loss for point in curve]))
            self.out.commit_unit("model", {losses.name: losses}, rows=STEPS)

    def finish(self, units: Units) -> StageResult:
        """Nothing more."""
        return StageResult()


def staged(store: Path, count: int) -> Artifact:
    """The stage, made by so many ranks of this machine."""
    return run_stage(STAGE, Trained(), {}, LocalStore(store), Performance(), silent, by_ranks(count))


@dataclass(frozen=True)
class Way:
    """How to train, and what happens meanwhile, all of it to the last rank.

    It has room for so many samples at once, is killed when it comes to a step for the first time, is asked to stop in a
    step, takes its time for each. The training's store is that of the folder `at`.
    """

    at: str
    micro: int | None = None
    shard: bool = False
    room: int | None = None
    killed: int | None = None
    stopped: int | None = None
    pace_s: float = 0.0

    def disturbed(self, loss: Loss, mark: Path) -> Loss:
        """The loss, where the last rank has what happens to it."""
        if ranks.rank() < ranks.count() - 1:
            return loss

        def wrapped(at: At) -> Tensor:
            time.sleep(self.pace_s)
            if self.room is not None and at.rows.stop - at.rows.start > self.room:
                raise torch.OutOfMemoryError("no room\nat all")
            if at.step == self.killed and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if at.step == self.stopped:
                stopping.ask()
            return loss(at)

        return wrapped


def trained(folder: Path, way: Way, progress: Progress = silent) -> None:
    """Train in `folder / way.at`; every rank leaves there what it ends with."""
    here, module, seen = folder / way.at, network(), list[list[int]]()
    here.mkdir(parents=True, exist_ok=True)
    loss = way.disturbed(regression(module, seen), here / "killed")
    with EVERY_STEP, Draft(LocalStore(here / "store"), STAGE.name, FINGERPRINT) as out:
        work = Work(STAGE, Trained(), {}, out, Performance(shard=way.shard), progress)
        curve = fit(module, loss, plan(micro_batch_size=way.micro), work)
    weights = {name: value.flatten().tolist() for name, value in module.state_dict().items()}
    kinds = [type(module).__name__, *(str(value.stride()) for value in module.state_dict().values())]
    told = {"losses": [point.loss for point in curve], "norms": [point.gradient_norm for point in curve]}
    left = {**told, "weights": weights, "kinds": kinds, "seen": seen, "ranks": ranks.count()}
    (here / f"rank-{ranks.rank()}.json").write_text(json.dumps(left))


def one_after_the_other(folder: Path, ways: Sequence[Way], progress: Progress) -> None:
    """`trained` in each way."""
    for way in ways:
        trained(folder, way, progress)


def left(folder: Path, at: str, rank: int = 0) -> dict[str, Any]:
    """What a rank left of a training."""
    found: dict[str, Any] = json.loads((folder / at / f"rank-{rank}.json").read_text())
    return found


def dawdling(folder: Path, progress: Progress) -> None:
    """Every rank tells who it is and waits until it is asked to stop."""
    print("a library that prints\n" * 3, flush=True)
    (folder / f"pid-{ranks.rank()}").write_text(str(os.getpid()))
    progress(0, 1, "steps")
    while not any(ranks.agreed(stopping.asked())):
        time.sleep(0.05)
    (folder / f"stopped-{ranks.rank()}").touch()
    raise stopping.Stopped


def refusing(folder: Path, error: Exception, progress: Progress) -> None:
    """The last rank raises, the first one waits for it for ever; how often they began is how long `begun` is."""
    if ranks.is_first():
        with (folder / "begun").open("a") as begun:
            begun.write("x")
    ranks.wait()
    if not ranks.is_first():
        raise error
    ranks.wait()
