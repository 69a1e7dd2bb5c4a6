"""The command line over stages that write small files: `python -m tests.flows.small_stages run tiny ...`.

Everything but the science is real: algorithm, fingerprints, store, Prefect flows and server, terminal.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.run import rehearsal, sources
from infra import stopping
from infra.artifact import Draft
from infra.errors import UserError
from infra.recipe import Section
from tasks import stages
from tasks.sections import ReflowJob
from tasks.stage import StageResult, StageWork, Units
from tasks.stages import Extent, Group, Stage, Unit

if TYPE_CHECKING:
    import torch

    from tasks.train.fit import At

UNITS = 3
BLOBS = {
    "report": ("report.html", "contact_sheet.png"),
    "evaluate": ("metrics.json", "metrics.parquet"),
}


class Small(StageWork[Section]):
    """Three units of text that depend on configuration and inputs; $SMALL_STAGE_S makes each unit last."""

    def make(self, group: Group) -> None:
        """Write one unit."""
        (unit,) = group
        if os.environ.get("SMALL_STAGE_FAILS") == self.out.stage:
            raise UserError(f"{self.out.stage}: told to fail")
        _last(float(os.environ.get("SMALL_STAGE_S", "0")))
        self.out.commit_unit(unit.id, _blobs(self.out, int(unit.id.removeprefix("unit-")), self.text()), rows=1)
        self.work.advance(unit.pieces)

    def finish(self, units: Units) -> StageResult:
        """Count them."""
        return StageResult(metrics={"units": len(units)}, seeds={"small": 1})

    def text(self) -> str:
        """What the files hold."""
        return json.dumps([self.config.identity(), {role: source.digest for role, source in self.inputs.items()}])


class SmallTraining(StageWork[ReflowJob]):
    """A real training of a small network; the file `steps` tells which were begun, $SMALL_STAGE_S makes each last."""

    def make(self, group: Group) -> None:
        """Train it."""
        import torch
        from safetensors.torch import save_file

        from tasks.train.fit import FitPlan, fit

        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Dropout(0.2), torch.nn.Linear(16, 4))

        def loss(at: At) -> torch.Tensor:
            with Path("steps").open("a") as told:
                told.write(f"{at.step}\n")
            time.sleep(float(os.environ.get("SMALL_STAGE_S", "0")))
            x = torch.randn(8, 4, generator=torch.Generator().manual_seed(at.step))
            return (module(x) - x.flip(1)).square().mean()

        (phase,), (told,) = self.work.extent.phases, self.config.phases
        fit(module, loss, FitPlan.of(self.config, phase, "data", told.learning_rate, 0), self.work)
        weights = self.out.workdir / "model.safetensors"
        save_file(module.state_dict(), weights)
        self.out.commit_unit("model", {weights.name: weights}, rows=phase.steps)

    def finish(self, units: Units) -> StageResult:
        """Nothing more."""
        return StageResult()


def small(stage: Stage) -> Stage:
    """The stage with small work in the place of its own; the one that $SMALL_STAGE_TRAINS names trains."""
    if os.environ.get("SMALL_STAGE_TRAINS") == stage.name:
        return trained(stage)
    return replace(stage, work=f"{__name__}:Small", extent=_three_units)


def trained(stage: Stage) -> Stage:
    """The stage `reflow` with a small network."""
    return replace(stage, work=f"{__name__}:SmallTraining")


def _three_units(config: Any, roles: Collection[str]) -> Extent:
    return Extent(tuple((Unit(f"unit-{number}"),) for number in range(UNITS)))


def _last(seconds: float) -> None:
    if seconds:
        Path("working").touch()  # for a test that waits for it
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        stopping.check()
        time.sleep(0.02)


def _metrics(text: str) -> str:
    record = {"model": "teacher", "steps": 2, "guidance": 3.0, "frechet_distance": 0.25}
    protocol = {"num_images": 1, "machine": "any", "text": text}
    return json.dumps({"schema_version": 2, "protocol": protocol, "records": [record]})


def _blobs(out: Draft, number: int, text: str) -> dict[str, Path]:
    names = [f"part-{number}.txt", *(BLOBS.get(out.stage, ()) if number == 0 else ())]
    for name in names:
        (out.workdir / name).write_text(_metrics(text) if name == "metrics.json" else f"{name} {text}")
    blobs = {name: out.workdir / name for name in names}
    if number == 0 and out.stage not in BLOBS:
        name = stages.STAGES[out.stage].tree or "model"
        (out.workdir / name).mkdir(exist_ok=True)
        (out.workdir / name / "model_index.json").write_text(text)
        blobs[name] = out.workdir / name
    return blobs


def install(folder: Path) -> None:
    """Put the small stages in the table's place, and `folder` in that of the embedded weights; rehearse nothing."""
    for called, path in sources.EMBEDDED.items():
        (folder / path.name).mkdir(parents=True, exist_ok=True)
        (folder / path.name / "weights.txt").write_text(path.name)
        sources.EMBEDDED[called] = folder / path.name
    rehearsal.rehearse_stages = lambda chain, stages: None  # small stages are told to last, and to fail
    stages.STAGES.update({name: small(stage) for name, stage in stages.STAGES.items()})


if __name__ == "__main__":
    from flows.cli.app import main

    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background
    install(Path(os.environ["SMALL_STAGES_WEIGHTS"]))
    main()
