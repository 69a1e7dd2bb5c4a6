"""How far a running stage is, and how fast: by its run's record, by earlier runs, and by when it committed what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flows.observed.known import Known
from flows.observed.run_facts import RunFacts
from infra.upkeep.runs import StageRun

_COMMITTED = re.compile(r"/units/[^/]+\.json$")  # of checkpoints only the last two are there
POINTS = 200
"""Moments that a picture of the pace shows."""


@dataclass(frozen=True)
class Progress:
    """A running stage.

    `total` is of how many units: as its record says, in older ones as many as the run before did; None where nobody
    knows.
    """

    stage: StageRun
    run: RunFacts
    total: int | None
    committed: Sequence[datetime]
    """When each of the units that are there was written."""

    @property
    def done(self) -> int | None:
        """How many units are there; None where an older record does not say."""
        return self.stage.units if self.stage.done is None else self.stage.done

    @property
    def left_s(self) -> float | None:
        """Seconds to go, as fast as so far; None where that cannot be told."""
        made = self.stage.units
        if not self.total or not made or self.done is None or self.stage.seconds <= 0:
            return None
        return max(0, self.total - self.done) * self.stage.seconds / made

    @property
    def pace(self) -> str:
        """What was committed over time as the points of a line, 0 to 100 both ways; empty for fewer than two."""
        times = self.committed
        if len(times) < 2:
            return ""
        start, span_s = times[0], (times[-1] - times[0]).total_seconds() or 1.0
        every = -(-len(times) // POINTS)
        points = [
            f"{100 * (at - start).total_seconds() / span_s:.1f},{100 - 100 * (number + 1) / len(times):.1f}"
            for number, at in enumerate(times)
            if number % every == 0 or number == len(times) - 1
        ]
        return " ".join(points)


def progress(known: Known, run: RunFacts) -> list[Progress]:
    """The stages of a run, and of what it sent to others, that are under way. Raises StoreError."""
    return [
        Progress(stage, one, stage.total or _total(known, one, stage.stage), _committed(known, stage.artifact))
        for one in (run, *run.parts)
        for stage in one.record.stages
        if stage.state == "running" and one.state == "running"
    ]


def _total(known: Known, run: RunFacts, stage_id: str) -> int | None:
    """How much the last run of the recipe did of a stage that made all of it."""
    return next(
        (
            stage.units
            for other in known.runs.values()
            if other.record.recipe == run.record.recipe
            for stage in other.record.stages
            if (stage.stage, stage.state) == (stage_id, "done") and stage.units
        ),
        None,
    )


def _committed(known: Known, base: str) -> list[datetime]:
    return sorted(time for path, time in known.seen.store.modified(base).items() if _COMMITTED.search(path))
