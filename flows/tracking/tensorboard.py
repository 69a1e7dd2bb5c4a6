"""TensorBoard: a folder of event files, one for each run."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from flows.tracking.extra import of_extra
from flows.tracking.tracked import Tracked
from infra.store.whole_file import whole

_EVENTS = "events.out.tfevents"


class TensorBoard:
    """Event files below a folder, as `tensorboard --logdir` reads them. Raises UserError where it is not installed."""

    def __init__(self, folder: str) -> None:
        with of_extra("tensorboard"):
            import tensorboard  # noqa: F401
        self.folder = Path(folder).expanduser()

    def told(self) -> Collection[str]:
        """Those of which a whole event file is there."""
        return {path.parent.name for path in self.folder.glob(f"*/*/{_EVENTS}*")}

    def tell(self, run: Tracked) -> None:
        """Write the event file, which is whole or not there. Raises OSError."""
        with tempfile.TemporaryDirectory() as aside:
            _write(run, aside)
            (made,) = Path(aside).iterdir()
            target = self.folder / run.group / run.key / f"{_EVENTS}.{int(run.ended.timestamp())}"
            whole(target, lambda part: shutil.copyfile(made, part))


def _write(run: Tracked, folder: str) -> None:
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams

    at = run.ended.timestamp()
    with SummaryWriter(folder) as writer:
        for summary in hparams({**run.parameters}, {}):  # type: ignore[no-untyped-call]
            writer._get_file_writer().add_summary(summary)  # add_hparams would write it into a run of its own
        rows = "\n".join(f"| {name} | `{value}` |" for name, value in run.tags.items())
        writer.add_text("made", f"| | |\n|---|---|\n{rows}", walltime=at)
        for name, points in run.numbers.items():
            for step, number in points:
                writer.add_scalar(name, number, step, walltime=at)
        if sheet := run.contact_sheet():
            picture = np.asarray(sheet)
            writer.add_image("contact_sheet", picture, dataformats="HWC", walltime=at)
