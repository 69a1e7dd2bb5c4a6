"""The InstaFlow algorithm (Liu et al., ICLR 2024) as one function of a recipe and of what "do" means.

Two interpreters read it: the planner looks at manifests, the Prefect runner does the work.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from infra.recipe import Distill, Evaluate, Recipe, Section
from tasks.jobs import EvaluateJob, PairsJob, PromptsJob

Handle = TypeVar("Handle")


class Do(Protocol[Handle]):
    """How a stage is done. A handle stands for an artifact; the algorithm only passes it on."""

    def __call__(self, stage: str, config: Section, /, **inputs: Handle | None) -> Handle:
        """Do the stage of this id: a stage's name, perhaps with a suffix (`pairs-1`). None is no input."""
        ...

    def given(self, tree: str, path: str) -> Handle:
        """What lies ready: the tree "model", "clip" or "coco" at `path`; "mini" is the embedded one."""
        ...


def instaflow(recipe: Recipe, do: Do[Handle]) -> Handle:
    """Teacher pairs, reflow, distillation, and the proof: the report on what came out."""
    coco, teacher, clip = materials(recipe, do)
    prompts = do("prompts", PromptsJob.of(recipe), coco=coco)

    made: dict[str, Handle] = {}  # by stage id, for the report's provenance
    rectified, solved = teacher, recipe.pairs
    for k in range(1, recipe.reflow.rounds + 1):
        pairs = do(f"pairs-{k}", PairsJob.of(solved, "reflow", recipe), teacher=rectified, prompts=prompts)
        rectified = do(f"reflow-{k}", _one_round(recipe), teacher=rectified, pairs=pairs)
        made |= {f"pairs-{k}": pairs, f"reflow-{k}": rectified}
        solved = recipe.student_pairs  # from here on the couplings are a rectified flow's

    student_job = PairsJob.of(recipe.student_pairs, "distill", recipe)
    student_pairs = do("pairs-student", student_job, teacher=rectified, prompts=prompts)
    judge = clip if _judged_by_mini_clip(recipe.distill) else None
    student = do("distill", recipe.distill, teacher=rectified, pairs=student_pairs, clip=judge)
    made |= {"pairs-student": student_pairs, "distill": student}

    direct = _direct(recipe, do, teacher, made["pairs-1"], clip)
    evaluation = do(
        "evaluate",
        EvaluateJob.of(recipe),
        coco=coco,
        teacher=teacher,
        rectified=rectified,
        student=student,
        direct=direct,
        clip=clip if _measured_by_mini_clip(recipe.evaluate) else None,
    )
    made |= {"direct": direct} if direct is not None else {}
    return do("report", recipe.report, evaluate=evaluation, teacher=teacher, prompts=prompts, **made)


def materials(recipe: Recipe, do: Do[Handle]) -> tuple[Handle, Handle, Handle]:
    """The captioned images, the teacher and the small CLIP: made here if the recipe says so, else given."""
    coco = do("world", recipe.world) if recipe.world else do.given("coco", recipe.coco.path or "")
    if recipe.train_teacher:
        teacher = do("teacher", recipe.train_teacher, world=coco)
    else:
        teacher = do.given("model", recipe.teacher.path)
    clip = do("clip", recipe.train_clip, world=coco) if recipe.train_clip else do.given("clip", "mini")
    return coco, teacher, clip


def _direct(recipe: Recipe, do: Do[Handle], teacher: Handle, pairs: Handle, clip: Handle) -> Handle | None:
    """The baseline that gives the claim its meaning: the teacher distilled without reflow."""
    if not recipe.direct.enabled:
        return None
    judge = clip if _judged_by_mini_clip(recipe.direct) else None
    return do("direct", recipe.direct, teacher=teacher, pairs=pairs, clip=judge)


def _one_round(recipe: Recipe) -> Section:
    # the number of rounds is the algorithm's: one more must not redo the first
    return recipe.reflow.model_copy(update={"rounds": 1})


def _judged_by_mini_clip(distill: Distill) -> bool:
    perceptual = any(phase.loss == "perceptual" for phase in distill.phases)
    return perceptual and distill.perceptual.kind == "mini"


def _measured_by_mini_clip(evaluate: Evaluate) -> bool:
    return evaluate.features == "mini" or evaluate.clip.architecture == "mini"
