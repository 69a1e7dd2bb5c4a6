"""What is to be expected of a stage: how much of its work is done, what time and room the rest takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError

from infra.artifact import Draft
from infra.artifact.manifest import Manifest
from tasks.sections import PairsJob
from tasks.stages import STAGES, Extent

_CHECKPOINT = re.compile(r"/checkpoints/([^/]+)/step-(\d+)[^/]*\.json$")


@dataclass(frozen=True)
class Expected:
    """What an earlier run lets expect: time from the first to the last unit, size of the finished artifact."""

    seconds: float
    bytes: int


def expected(work: Extent, earlier: Manifest) -> Expected | None:
    """Time and room of `work` at the pace of an earlier run of the stage; None when that says nothing about it."""
    before = _extent_of(earlier)
    if before is None or not before.cost or not before.volume:
        return None
    size = sum(file.bytes for file in earlier.files)
    return Expected(earlier.seconds * work.cost / before.cost, round(size * work.volume / before.volume))


def _extent_of(earlier: Manifest) -> Extent | None:
    """The work that a finished artifact was; None when it was written before the section had its present fields."""
    stage = STAGES[earlier.stage]
    try:
        config = stage.section.model_validate_json(json.dumps(earlier.config))
    except ValidationError:
        return None
    if isinstance(config, PairsJob):  # counted, not told: some of the prompts may have been quarantined
        quarantined = earlier.metrics.get("quarantined", 0)
        lost = int(quarantined) if isinstance(quarantined, (int, float)) else 0
        config = config.model_copy(update={"samples": earlier.rows + lost})
    return stage.extent(config, [record.role for record in earlier.inputs])


def done(draft: Draft, work: Extent) -> int:
    """How much of `work` an interrupted run left in the draft, in the plan's units. Raises StoreError."""
    units = draft.committed()
    if not work.phases:
        return sum(unit.id in units for group in work.groups for unit in group)
    steps = _checkpoint_steps(draft.store.list(f"{draft.place}/checkpoints"))
    return sum(phase.steps if phase.unit in units else steps.get(phase.name, 0) for phase in work.phases)


def _checkpoint_steps(paths: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for path in paths:
        if match := _CHECKPOINT.search(path):
            found[match[1]] = max(found.get(match[1], 0), int(match[2]))
    return found
