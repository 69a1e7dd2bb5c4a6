"""How noise becomes a latent: by which solver, in how many steps, with how much guidance."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from infra.recipe import ASIDE, Count, Rate, Section, Seed
from tasks.sections.prompts import Part, Prompts
from tasks.sections.source import Dtype

Guidance = Annotated[float, Field(ge=0)]

Solver = Literal["dpmsolver++", "dpmsolver++1", "dpmsolver++3", "unipc", "ddim", "euler", "heun"]
"""dpmsolver++ and unipc are of order 2."""


class Pairs(Section):
    """How noise becomes a latent: the teacher's ODE. There are as many pairs as prompts of the part."""

    solver: Solver = Field(default="dpmsolver++", description="the ODE solver")
    steps: Count = Field(default=25, description="solver steps per sample")
    guidance: Guidance = Field(default=5.0, description="guidance scale a in v(null) + a (v(text) - v(null)); 1 is off")
    shard_size: Count = Field(default=512, description="pairs per shard, the unit of work and of resume")
    max_abs_latent: Rate = Field(default=30.0, description="a latent with a larger absolute value is quarantined")
    seed: Seed = Field(default=0, description="seed from which every sample's own seed follows")


class StudentPairs(Pairs):
    """How the 2-RF makes the pairs to distill from."""

    solver: Solver = Field(default="euler", description="the ODE solver; a flow takes euler, heun or unipc")
    guidance: Guidance = Field(default=1.5, description="guidance scale of the 2-RF; its sweet spot is 1.5 to 2")
    seed: Seed = Field(default=1, description="seed from which every sample's own seed follows")


class PairsJob(Pairs):
    """Make the pairs of one part of the prompts."""

    part: Part = Field("reflow", description="which part of the prompts")
    round: Count = Field(1, description="which reflow they are for: each round draws noise of its own")
    dtype: Dtype = Field("fp32", description="precision of the network that is solved")
    samples: Count | None = Field(
        default=None,
        description="prompts of the part, for a plan made before they are; null: not known",
        json_schema_extra=ASIDE,
    )

    @classmethod
    def of(cls, pairs: Pairs, part: Part, prompts: Prompts, dtype: Dtype, round: int = 1) -> PairsJob:
        """The job of a recipe's sections for one part of its prompts."""
        return cls(**dict(pairs), part=part, round=round, dtype=dtype, samples=prompts.count(part))
