"""Measure any model, or a folder of pictures that were drawn elsewhere: no training, no claims, the same protocol."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from flows.algorithms.algorithm import Algorithm, Do, Handle
from flows.algorithms.materials import captioned, opened
from infra.recipe import ASIDE
from tasks import sections
from tasks.roles import Role
from tasks.sections import Coco, Evaluate, EvaluateJob, ModelSource, Page, RealJob, Report, ReportJob, World


class Recipe(sections.Recipe):
    """What is measured, on which captions, how, and what is shown of it."""

    model: ModelSource = Field(default=ModelSource(), description=ModelSource.__doc__)
    pictures: str | None = Field(
        default=None,
        description="folder of pictures that are measured instead of a model's, named as the captions' own or numbered;"
        " or the full address of an artifact",
        json_schema_extra=ASIDE,
    )
    world: World | None = Field(default=None, description="the miniature world; null when coco.path names a data set")
    coco: Coco = Field(default=Coco(), description=Coco.__doc__)
    evaluate: Evaluate = Field(default=Evaluate(), description=Evaluate.__doc__)
    report: Report = Field(default=Report(), description=Report.__doc__)

    @model_validator(mode="after")
    def _has_captions(self) -> Recipe:
        if (self.world is None) == (self.coco.path is None):
            raise ValueError("expected one of `world` and `coco.path`, a folder in the MS COCO layout")
        return self

    @model_validator(mode="after")
    def _is_one_thing(self) -> Recipe:
        if self.pictures is None:
            return self
        if self.model != ModelSource():
            raise ValueError(f"`model` has no effect beside `pictures` ({self.pictures}): leave one of them out")
        if self.evaluate.pictures.size is None:
            raise ValueError("`pictures` need `evaluate.pictures.size`: to how many pixels they are brought")
        if self.evaluate.reference != "none":
            raise ValueError('`pictures` need `evaluate.reference` "none": no model draws those of other captions')
        return self


def evaluation(recipe: Recipe, do: Do[Handle]) -> Handle:
    """Its pictures beside real ones, and the page about them."""
    coco = captioned(recipe.world, recipe.coco, do)
    if recipe.pictures is None:
        measured = {MODEL.input: opened(recipe.model, do)}
    else:
        measured = {PICTURES.input: do.given("pictures", recipe.pictures)}
    judge = do.given("clip", "mini-judge") if recipe.evaluate.needs_mini_clip else None
    sized = measured.get(MODEL.input) if recipe.evaluate.pictures.size is None else None
    real = do("real", RealJob.of(recipe.evaluate, recipe.coco), coco=coco, judge=judge, teacher=sized)
    job = EvaluateJob.of(recipe.evaluate, recipe.coco, ROLES)
    made = do("evaluate", job, coco=coco, real=real, judge=judge, **measured)
    report = ReportJob.of(recipe.report, recipe.algorithm, (), _page(recipe))
    return do("report", report, evaluate=made, **measured)


def _page(recipe: Recipe) -> Page:
    """Called by the end of its path: OWNER/NAME of a repository, STAGE/FINGERPRINT of an artifact."""
    name = "/".join(Path(recipe.pictures or recipe.model.path).parts[-2:])
    return Page(title=f"Evaluation of {name}", about="As it is, beside real pictures and their captions.")


MODEL = Role(
    name="model", input="model", own_teacher=None, sampling="teacher",
    label="Model", colour="#0072b2", dark_colour="#56b4e9", marker="circle",
)  # fmt: skip
PICTURES = Role(
    name="pictures", input="pictures", own_teacher=None, sampling="drawn",
    label="Pictures", colour="#008a64", dark_colour="#2fc79b", marker="diamond",
)  # fmt: skip
ROLES = (MODEL, PICTURES)

ALGORITHM = Algorithm(
    "evaluation", "Measure one model or a folder of pictures", Recipe, evaluation, ROLES, usual="mini-1k"
)
