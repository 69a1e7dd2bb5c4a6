"""The InstaFlow algorithm (Liu et al., ICLR 2024): its recipe, its function, its roles and its claims."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from flows.algorithms.algorithm import Algorithm, Do, Handle
from flows.algorithms.materials import Materials, materials
from tasks.claims import Claim, StepwiseClaim
from tasks.roles import DIRECT, RECTIFIED, STUDENT, TEACHER
from tasks.sections import (
    Direct,
    Distill,
    Evaluate,
    EvaluateJob,
    Page,
    Pairs,
    PairsJob,
    Prompts,
    PromptsJob,
    RealJob,
    Reflow,
    ReflowJob,
    Report,
    ReportJob,
    StudentPairs,
)


class Recipe(Materials):
    """Everything a run of the chain depends on."""

    prompts: Prompts = Field(default=Prompts(), description=Prompts.__doc__)
    pairs: Pairs = Field(default=Pairs(), description=Pairs.__doc__)
    reflow: Reflow = Field(default=Reflow(), description=Reflow.__doc__)
    student_pairs: StudentPairs = Field(default=StudentPairs(), description=StudentPairs.__doc__)
    distill: Distill = Field(default=Distill(), description=Distill.__doc__)
    direct: Direct = Field(default=Direct(), description=Direct.__doc__)
    evaluate: Evaluate = Field(default=Evaluate(), description=Evaluate.__doc__)
    report: Report = Field(default=Report(), description=Report.__doc__)


def instaflow(recipe: Recipe, do: Do[Handle]) -> Handle:
    """Teacher pairs, reflow, distillation, and the proof: the report on what came out."""
    coco, teacher, clip, judge = materials(recipe, do)
    prompts = do("prompts", PromptsJob.of(recipe.prompts, recipe.coco), coco=coco)

    made: dict[str, Handle] = {}  # by stage id, for the report's provenance
    rectified, solved = teacher, recipe.pairs
    for k in range(1, recipe.reflow.rounds + 1):
        pairs = do(f"pairs-{k}", _pairs(solved, "reflow", recipe, k), teacher=rectified, prompts=prompts)
        lent = clip if recipe.reflow.needs_mini_clip else None
        rectified = do(f"reflow-{k}", ReflowJob.of(recipe.reflow, k), teacher=rectified, pairs=pairs, clip=lent)
        made |= {f"pairs-{k}": pairs, f"reflow-{k}": rectified}
        solved = recipe.student_pairs  # from here on the couplings are a rectified flow's

    student_pairs = do(
        "pairs-student", _pairs(recipe.student_pairs, "distill", recipe), teacher=rectified, prompts=prompts
    )
    lent = clip if recipe.distill.needs_mini_clip else None
    student = do("distill", recipe.distill, teacher=rectified, pairs=student_pairs, clip=lent)
    made |= {"pairs-student": student_pairs, "distill": student}

    made |= _direct(recipe, do, teacher, prompts, made["pairs-1"], clip)
    measures = judge if recipe.evaluate.needs_mini_clip else None
    sized = teacher if recipe.evaluate.pictures.size is None else None
    real = do("real", RealJob.of(recipe.evaluate, recipe.coco), coco=coco, judge=measures, teacher=sized)
    evaluation = do(
        "evaluate",
        EvaluateJob.of(recipe.evaluate, recipe.coco, ROLES),
        coco=coco,
        real=real,
        teacher=teacher,
        rectified=rectified,
        student=student,
        direct=made.get("direct"),
        judge=measures,
    )
    report = ReportJob.of(recipe.report, recipe.algorithm, CLAIMS, PAGE)
    return do("report", report, evaluate=evaluation, teacher=teacher, prompts=prompts, **made)


def _direct(
    recipe: Recipe, do: Do[Handle], teacher: Handle, prompts: Handle, pairs: Handle, clip: Handle
) -> dict[str, Handle]:
    """The baseline that gives the claim its meaning: the teacher distilled without reflow, on as many pairs.

    Reflow and distillation together see the prompts of both parts, so it has the teacher's pairs of both.
    """
    if not recipe.direct.enabled:
        return {}
    more = do("pairs-direct", _pairs(recipe.pairs, "distill", recipe), teacher=teacher, prompts=prompts)
    lent = clip if recipe.direct.needs_mini_clip else None
    direct = do("direct", recipe.direct, teacher=teacher, pairs=pairs, more_pairs=more, clip=lent)
    return {"pairs-direct": more, "direct": direct}


def _pairs(pairs: Pairs, part: Literal["reflow", "distill"], recipe: Recipe, round: int = 1) -> PairsJob:
    return PairsJob.of(pairs, part, recipe.prompts, recipe.teacher.dtype, round)


ROLES = (TEACHER, RECTIFIED, STUDENT, DIRECT)

PAGE = Page(
    title="InstaFlow: pictures in one step",
    about="A diffusion teacher, straightened by reflow and distilled to a single network call.",
    source="Liu et al., InstaFlow: One Step is Enough for High-Quality Diffusion-Based Text-to-Image Generation, ICLR"
    " 2024, arXiv 2309.06380.",
)

CLAIMS = (
    Claim(
        title="One step shows what the prompt says",
        metric="attribute_accuracy", of="student", against="teacher", at_least=0.95, shown_as="%",
        detail="of the teacher's attribute accuracy: {of} against {against}",
        paper="CLIP score on COCO: .304 in one step, .318 for the teacher in 25",
    ),
    Claim(
        title="One step looks like the teacher",
        metric="frechet_distance", of="student", against="floor", at_most=1.5,
        detail="the floor: Fréchet distance {of} against {against} for the teacher and itself",
        paper="FID on COCO: 23.4 in one step, 20.1 for the teacher in 25",
    ),
    StepwiseClaim(
        title="Reflow wins with few steps",
        metric="frechet_distance", of="2-rf", against="teacher", steps=(1, 2, 4),
        detail="Fréchet distance with {steps} steps: {of} for the 2-RF, {against} for the teacher",
        paper="the 2-RF beats the teacher under DPM-Solver up to 4 steps",
    ),
    Claim(
        title="Reflow makes distillation easy",
        metric="distance_to_own_teacher", of="student", against="direct", at_most=0.7,
        detail="the direct student's distance to its own teacher: {of} against {against}",
        paper="FID gap of student and teacher: 8.9 with reflow, 18.1 without",
    ),
    Claim(
        title="Reflow straightens the flow",
        metric="straightness", of="teacher", against="2-rf", at_least=10,
        detail="straighter: S = {against} against {of} for the guided teacher",
        paper="straight paths are exact in one step",
    ),
    Claim(
        title="One step is fast",
        metric="seconds_per_image", of="teacher", against="student",
        detail="faster at batch 1: {against} against {of} a picture",
        paper=".09 s against .88 s on an A100",
    ),
)  # fmt: skip

ALGORITHM = Algorithm(
    "instaflow", "Teacher pairs, reflow, distillation, evaluation, report", Recipe, instaflow, ROLES, CLAIMS
)
