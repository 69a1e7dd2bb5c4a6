"""What a stage is told beyond its recipe section, where one section alone does not say it all.

A job is the section plus the fields of other sections that shape the stage's output, so that they enter its
fingerprint and the Prefect form. Where things lie is left out: inputs are passed by digest.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from infra.recipe import Coco, Dtype, Evaluate, Pairs, Prompts, Recipe


class PromptsJob(Prompts):
    """Sample prompts; the captions of `coco` are a source, and those used in the evaluation are excluded."""

    coco: Coco = Field(Coco(), description="files of the caption set within the input `coco`")

    @classmethod
    def of(cls, recipe: Recipe) -> PromptsJob:
        """The job of a recipe."""
        return cls(**dict(recipe.prompts), coco=recipe.coco.model_copy(update={"path": None}))


class PairsJob(Pairs):
    """Make the pairs of one part of the prompts."""

    part: Literal["reflow", "distill"] = Field("reflow", description="which part of the prompts")
    dtype: Dtype = Field("fp32", description="precision of the network that is solved")

    @classmethod
    def of(cls, pairs: Pairs, part: Literal["reflow", "distill"], recipe: Recipe) -> PairsJob:
        """The job of a recipe for one part of its prompts."""
        return cls(**dict(pairs), part=part, dtype=recipe.teacher.dtype)


class EvaluateJob(Evaluate):
    """Measure every model on the captions of `coco`."""

    coco: Coco = Field(Coco(), description="files of the caption set within the input `coco`")

    @classmethod
    def of(cls, recipe: Recipe) -> EvaluateJob:
        """The job of a recipe."""
        return cls(**dict(recipe.evaluate), coco=recipe.coco.model_copy(update={"path": None}))
