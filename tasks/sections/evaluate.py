"""The evaluation: which models are measured, in how many steps, at which guidance."""

from __future__ import annotations

from pydantic import Field

from infra.recipe import Count, Counts, Seed, as_before
from tasks.roles import STANDARD, Role
from tasks.sections.captioned import Coco
from tasks.sections.judging import Judging
from tasks.sections.pairs import Guidance, Solver


class Evaluate(Judging):
    """The evaluation protocol."""

    steps: Counts = Field(
        default=(1, 2, 4, 8, 25),
        description="numbers of solver steps to evaluate the 2-RF and the teacher at",
    )
    teacher_steps: Count = Field(default=25, description="solver steps of the teacher's reference pictures")
    teacher_guidance: Guidance = Field(default=5.0, description="guidance scale of the teacher")
    rectified_guidance: Guidance = Field(default=1.5, description="guidance scale of the 2-RF")
    guidances: tuple[Guidance, ...] = Field(
        default=(),
        strict=False,
        description="more guidance scales to measure the teacher at, at every number of steps: Frechet distance against"
        " CLIP score",
        json_schema_extra=as_before([]),
    )
    teacher_solver: Solver = Field(default="dpmsolver++", description="solver of the teacher")
    straightness_images: Count = Field(default=256, description="samples of the straightness estimate")
    seed: Seed = Field(default=1000, description="seed from which every evaluation sample's own seed follows")


class EvaluateJob(Evaluate):
    """Measure every model on the captions of `coco`."""

    coco: Coco = Field(Coco(), description="files of the caption set within the input `coco`")
    roles: tuple[Role, ...] = Field(
        default=STANDARD,
        strict=False,
        description="the models that are measured, as far as they are inputs",
        json_schema_extra=as_before([role.identity() for role in STANDARD]),
    )

    @classmethod
    def of(cls, evaluate: Evaluate, coco: Coco, roles: tuple[Role, ...]) -> EvaluateJob:
        """The job of a recipe's sections and an algorithm's roles."""
        return cls(**dict(evaluate), coco=coco.within(), roles=roles)
