"""The command line over stages that write small files: `python tests/flows/small_stages.py run tiny ...`.

Everything but the science is real: algorithm, fingerprints, store, Prefect flows and server, terminal.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from flows import sources, stages  # noqa: E402
from infra import stopping  # noqa: E402
from infra.artifact import Draft, Source  # noqa: E402
from infra.errors import UserError  # noqa: E402
from infra.recipe import Performance, Reflow, Section  # noqa: E402
from tasks.progress import Progress  # noqa: E402
from tasks.stage import StageResult  # noqa: E402

UNITS = 3
BLOBS = {
    "report": ("report.html", "contact_sheet.png"),
    "evaluate": ("metrics.json", "metrics.parquet"),
}


def work(
    config: Section, inputs: Mapping[str, Source], out: Draft, perf: Performance, progress: Progress, /
) -> StageResult:
    """Three units of text that depend on configuration and inputs; $SMALL_STAGE_S makes each unit last."""
    if os.environ.get("SMALL_STAGE_FAILS") == out.stage:
        raise UserError(f"{out.stage}: told to fail")
    if os.environ.get("SMALL_STAGE_TRAINS") == out.stage:
        assert isinstance(config, Reflow)
        return train(config, out, progress)
    text = json.dumps([config.identity(), {role: source.digest for role, source in inputs.items()}])
    for number in range(UNITS):
        if f"unit-{number}" not in out.units():
            _last(float(os.environ.get("SMALL_STAGE_S", "0")))
            out.commit_unit(f"unit-{number}", _blobs(out, number, text), rows=1)
        progress(number + 1, UNITS, "units")
    return StageResult(metrics={"units": UNITS}, seeds={"small": 1})


def train(config: Reflow, out: Draft, progress: Progress) -> StageResult:
    """A real training of a small network; the file `steps` tells which were begun, $SMALL_STAGE_S makes each last."""
    import torch
    from safetensors.torch import save_file

    from tasks.fit import FitPlan, fit

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Dropout(0.2), torch.nn.Linear(16, 4))

    def loss(step: int) -> torch.Tensor:
        with Path("steps").open("a") as told:
            told.write(f"{step}\n")
        time.sleep(float(os.environ.get("SMALL_STAGE_S", "0")))
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        return (module(x) - x.flip(1)).square().mean()

    fit(module, loss, FitPlan.of(config, "data", config.steps, config.learning_rate, 0), out, "reflow", progress)
    save_file(module.state_dict(), out.workdir / "model.safetensors")
    out.commit_unit("model", {"model.safetensors": out.workdir / "model.safetensors"}, rows=config.steps)
    return StageResult()


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
    return json.dumps({"schema_version": 1, "protocol": protocol, "records": [record]})


def _blobs(out: Draft, number: int, text: str) -> dict[str, Path]:
    names = [f"part-{number}.txt", *(BLOBS.get(out.stage, ()) if number == 0 else ())]
    for name in names:
        (out.workdir / name).write_text(_metrics(text) if name == "metrics.json" else f"{name} {text}")
    blobs = {name: out.workdir / name for name in names}
    if number == 0 and out.stage not in BLOBS:
        tree = out.workdir / "model"
        tree.mkdir()
        (tree / "model_index.json").write_text(text)
        blobs["model"] = tree
    return blobs


def install(folder: Path) -> None:
    """Put the small stages in the table's place, and `folder` in that of the embedded weights."""
    for name in ("model", "clip"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "weights.txt").write_text(name)
        sources._EMBEDDED_FOLDERS[name] = folder / name
    for name, stage in list(stages.STAGES.items()):
        stages.STAGES[name] = replace(stage, function="small_stages:work")


if __name__ == "__main__":
    from flows.cli import main

    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background
    install(Path(os.environ["SMALL_STAGES_WEIGHTS"]))
    main()
