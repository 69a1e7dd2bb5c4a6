"""The table of stages: version, function, recipe section."""

from __future__ import annotations

from dataclasses import dataclass

from infra.recipe import Direct, Distill, Reflow, Report, Section, TrainClip, TrainTeacher, World
from tasks.jobs import EvaluateJob, PairsJob, PromptsJob


@dataclass(frozen=True)
class Stage:
    """A kind of work. `version` is bumped by hand when its output changes for the same configuration."""

    name: str
    version: int
    function: str
    section: type[Section]
    does: str


_TABLE = (
    Stage("world", 1, "tasks.world:make_world", World, "render the miniature caption set"),
    Stage("teacher", 2, "tasks.teacher:train_teacher", TrainTeacher, "train the small diffusion teacher"),
    Stage("clip", 1, "tasks.clip:train_clip", TrainClip, "train the small CLIP"),
    Stage("prompts", 1, "tasks.prompts:make_prompts", PromptsJob, "sample the prompts"),
    Stage("pairs", 1, "tasks.pairs:make_pairs", PairsJob, "solve noise to latent with the teacher"),
    Stage("reflow", 1, "tasks.reflow:train_reflow", Reflow, "straighten the flow"),
    Stage("distill", 1, "tasks.distill:train_student", Distill, "distill to one step"),
    Stage("direct", 1, "tasks.distill:train_direct", Direct, "distill without reflow, the baseline"),
    Stage("evaluate", 1, "tasks.evaluate:evaluate", EvaluateJob, "measure every model"),
    Stage("report", 1, "tasks.report:make_report", Report, "write the report"),
)
STAGES = {stage.name: stage for stage in _TABLE}


def stage_of(stage_id: str) -> Stage:
    """The stage of an id: `pairs-student` is a `pairs`."""
    return STAGES[stage_id.partition("-")[0]]
