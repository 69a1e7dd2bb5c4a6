"""Weights & Biases: a folder of offline runs, which its own `wandb sync` sends, each once and under one id."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from flows.tracking.extra import of_extra
from flows.tracking.tracked import Tracked

PROJECT = "WANDB_PROJECT"
"""W&B's own variable; where it is not set, the project is called instaflow."""
_OFFLINE = "offline-run-"


class WeightsAndBiases:
    """Offline runs below a folder. Raises UserError where W&B is not installed."""

    def __init__(self, folder: str) -> None:
        with of_extra("wandb", {"WANDB_ERROR_REPORTING": "false"}):
            import wandb  # noqa: F401
        self.folder = Path(folder).expanduser()

    def told(self) -> Collection[str]:
        """Those whose run is there, which has its name when it is whole."""
        return {path.stem.removeprefix("run-") for path in self.folder.glob(f"{_OFFLINE}*/run-*.wandb")}

    def tell(self, run: Tracked) -> None:
        """Write an offline run, which is whole or not there. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=self.folder) as aside:
            _write(run, aside)
            (made,) = Path(aside).glob(f"wandb/{_OFFLINE}*")
            made.rename(self.folder / made.name)


def _write(run: Tracked, folder: str) -> None:
    import wandb

    # what the machine is and does has nothing to do with runs of others' machines
    quiet = wandb.Settings(silent=True, console="off", x_disable_stats=True, x_disable_meta=True, disable_git=True)
    with wandb.init(
        mode="offline",
        dir=folder,
        project=os.environ.get(PROJECT, "instaflow"),
        id=run.key,
        name=run.artifact.base,
        group=run.tags.get("recipe"),
        job_type=run.group,
        config={**run.parameters, **{f"instaflow.{name}": value for name, value in run.tags.items()}},
        settings=quiet,
    ) as told:
        steps = defaultdict[int, dict[str, object]](dict)
        for name, points in run.numbers.items():
            for step, number in points:
                steps[step][name] = number
        if sheet := run.contact_sheet():
            steps[max(steps)]["contact_sheet"] = wandb.Image(sheet)
        for step in sorted(steps):
            told.log(steps[step], step=step)
