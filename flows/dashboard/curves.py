"""Training curves, the newest of each kind in one picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from flows.dashboard import charts
from flows.observed.known import Known
from flows.observed.whole import table
from infra.artifact import Artifact
from tasks.stages import CURVE_FILE, STAGES

AT_ONCE = charts.COLOURS


@dataclass(frozen=True)
class Curves:
    """The loss of some trainings of one stage over their steps, and which artifacts they are, by colour."""

    title: str
    svg: Markup
    artifacts: Sequence[str]


def training_curves(known: Known) -> Iterator[Curves]:
    """A picture for each stage that leaves curves. Raises StoreError."""
    for stage in STAGES.values():
        made = [one for one in known.seen.artifacts.values() if one.stage == stage.name and one.files(CURVE_FILE)]
        newest = sorted(made, key=lambda one: one.manifest.finished_at, reverse=True)[:AT_ONCE]
        found = [(one.base, _loss(one)) for one in newest] if stage.curve else []
        if stage.curve and (svg := charts.lines(f"{stage.name}: loss", found, "step", "loss")):
            yield Curves(f"{stage.curve.title} ({stage.name})", svg, [base for base, _ in found])


def _loss(artifact: Artifact) -> list[tuple[float, float]]:
    """Steps over all phases and the loss at each, thinned; nothing where the file is not what it should be."""
    (file, *_) = artifact.files(CURVE_FILE)
    rows = table(artifact, file, ["step", "loss"])
    if rows is None:
        return []
    steps, losses = (rows[name].to_pylist() for name in ("step", "loss"))
    return charts.thinned([*_going_on(steps, losses)])


def _going_on(steps: Sequence[float], losses: Sequence[float]) -> Iterator[tuple[float, float]]:
    """Each phase counts its steps from its beginning: put one after the other."""
    before, last = 0.0, 0.0
    for step, loss in zip(steps, losses, strict=True):
        if step < last:
            before += last
        last = step
        yield before + step, loss
