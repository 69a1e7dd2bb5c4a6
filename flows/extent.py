"""How much work a stage is: its units or training steps, what is done of them, what time and room goes with them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pydantic import ValidationError

from flows.stages import STAGES
from infra.artifact import Draft
from infra.manifest import Manifest
from infra.recipe import Distill, Recipe, Reflow, Section, TrainClip, TrainTeacher, World
from tasks.jobs import EvaluateJob, PairsJob, PromptsJob

_CHECKPOINT = re.compile(r"/checkpoints/([^/]+)/step-(\d+)[^/]*\.json$")
_FINAL = {"model", "clip"}  # the unit with which a training ends
_MERGED = {"index", "quarantine", "results"}  # units put together from the others at the end


@dataclass(frozen=True)
class Extent:
    """The work of a stage. Time goes with `cost` and room with `volume`, each in a measure of the stage's own."""

    total: int
    unit: str
    cost: float
    volume: float = 1.0


@dataclass(frozen=True)
class Expected:
    """What an earlier run lets expect: time from the first to the last unit, size of the finished artifact."""

    seconds: float
    bytes: int


def extent(config: Section, roles: Collection[str], samples: int = 0) -> Extent:
    """The work of a stage with this configuration and inputs in these roles; `samples` counts the pairs to be made."""
    if phases := training_phases(config):
        total = sum(phases.values())
        return Extent(total, "steps", samples_between(config, 0, total))
    if isinstance(config, PairsJob):
        forwards = config.steps * (2 if config.guidance != 1 else 1)
        return Extent(math.ceil(samples / config.shard_size), "shards", samples * forwards, samples)
    if isinstance(config, EvaluateJob):
        steps = {*config.steps, config.teacher_steps}
        students = len({"student", "direct"} & {*roles})
        shards = math.ceil(config.num_images / config.shard_size)
        units = (2 + 2 * len(steps) + students) * shards + 2  # coco and reference, cells; straightness
        return Extent(units, "units", config.num_images * (2 * sum(steps) + students))
    return Extent(1, "units", _pieces(config), _pieces(config))


def training_phases(config: Section) -> dict[str, int]:
    """Steps of each training within a stage, by the name of its checkpoints; empty for what trains nothing."""
    return {name: steps for name, (steps, _) in _phases(config).items()}


def _phases(config: Section) -> dict[str, tuple[int, int]]:
    """(steps, batch size) of each training within a stage, in order."""
    if isinstance(config, Reflow):
        return {"reflow": (config.steps, config.batch_size)}
    if isinstance(config, Distill):
        return {f"phase-{n}-{phase.loss}": (phase.steps, phase.batch_size) for n, phase in enumerate(config.phases)}
    if isinstance(config, TrainTeacher):
        autoencoder = (config.autoencoder_steps, config.autoencoder_batch_size)
        return {"autoencoder": autoencoder, "denoiser": (config.steps, config.batch_size)}
    if isinstance(config, TrainClip):
        return {"clip": (config.steps, config.batch_size), "reader": (config.reader_steps, config.reader_batch_size)}
    return {}


def samples_between(config: Section, before: int, after: int) -> int:
    """Samples in the units of progress from `before` to `after`: a training step is a batch of them."""
    phases = _phases(config).values()
    if not phases:
        return after - before
    count, start = 0, 0
    for steps, batch_size in phases:
        count += batch_size * max(0, min(after, start + steps) - max(before, start))
        start += steps
    return count


def work_of(config: Section, roles: Collection[str], recipe: Recipe) -> Extent:
    """The work of a stage of the recipe."""
    prompts = recipe.prompts
    counts = {"reflow": prompts.reflow_count, "distill": prompts.distill_count}
    return extent(config, roles, counts[config.part] if isinstance(config, PairsJob) else 0)


def expected(config: Section, work: Extent, earlier: Manifest) -> Expected | None:
    """Time and room of `work` at the pace of an earlier run of the stage; None when that says nothing about it."""
    try:
        section = STAGES[earlier.stage].section.model_validate_json(json.dumps(earlier.config))
    except ValidationError:  # written before the section had its present fields
        return None
    quarantined = earlier.metrics.get("quarantined", 0)
    samples = earlier.rows + (int(quarantined) if isinstance(quarantined, (int, float)) else 0)
    before = extent(section, [record.role for record in earlier.inputs], samples)
    if not before.cost or not before.volume:
        return None
    size = sum(file.bytes for file in earlier.files)
    return Expected(earlier.seconds * work.cost / before.cost, round(size * work.volume / before.volume))


def done(draft: Draft, config: Section, work: Extent) -> int:
    """How much of `work` an interrupted run left in the draft. Raises StoreError."""
    units = draft.units()
    if phases := training_phases(config):
        steps = _checkpoint_steps(draft.store.list(f"{draft.base}/checkpoints"))
        count = sum(total if phase in units else steps.get(phase, 0) for phase, total in phases.items())
        return work.total if _FINAL & units.keys() else min(count, work.total)
    return min(len(units.keys() - _MERGED), work.total)


def _checkpoint_steps(paths: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for path in paths:
        if match := _CHECKPOINT.search(path):
            found[match[1]] = max(found.get(match[1], 0), int(match[2]))
    return found


def _pieces(config: Section) -> float:
    if isinstance(config, World):
        return config.train_images + config.val_images
    if isinstance(config, PromptsJob):
        return config.reflow_count + config.distill_count
    return 1.0
