"""Reflow: training of the rectified flow on pairs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from infra.recipe import ASIDE, Count, Fraction, Rate, Section, as_before
from tasks.sections.perceptual import Perceiving, Perceptual
from tasks.sections.training import dropout, require_warmed_up, steps_of


class ReflowPhase(Section):
    """One phase of a reflow."""

    steps: Count = Field(default=6000, description="training steps of the phase")
    batch_size: Count = Field(default=64, description="pairs per step")
    learning_rate: Rate = Field(default=3e-4, description="peak learning rate, per step")


class Reflow(Perceiving):
    """Training of the rectified flow on pairs, phase after phase."""

    rounds: Count = Field(
        default=1, description="times to reflow; 1 gives the 2-rectified flow", json_schema_extra=ASIDE
    )
    parameterization: Literal["raw", "converted", "epsilon"] = Field(
        default="converted",
        description="raw: the teacher's network as it is; converted: its output as a velocity; epsilon: it stays a"
        " diffusion model, its path and its output as they were (Rectified Diffusion)",
    )
    sigma_density: Literal["uniform", "u_shaped"] = Field(
        default="uniform", description="distribution of sigma in training; of the timestep for `epsilon`"
    )
    loss: Literal["l2", "huber", "lpips_huber"] = Field(
        default="l2",
        description="l2, huber: distance between velocities; lpips_huber: (1 - sigma) huber, and the perceptual"
        " distance of the pictures they lead to (2-RF++)",
    )
    phases: tuple[ReflowPhase, ...] = Field(
        default=(ReflowPhase(),), min_length=1, strict=False, description="the phases of each round, in order"
    )
    text_dropout: Fraction = dropout()
    perceptual: Perceptual = Field(
        default=Perceptual(),
        description="the distance of lpips_huber",
        json_schema_extra=as_before(Perceptual().identity()),
    )

    @model_validator(mode="after")
    def _can_train(self) -> Reflow:
        require_warmed_up(self.warmup_steps, steps_of(self.phases))
        if self.parameterization == "epsilon" and self.loss == "lpips_huber":
            raise ValueError('loss "lpips_huber" is one of velocities; parameterization "epsilon" takes l2 or huber')
        return self

    @property
    def compares_pictures(self) -> bool:
        """Whether the loss does."""
        return self.loss == "lpips_huber"


class ReflowJob(Reflow):
    """Train one round."""

    round: Count = Field(1, description="which it is: each round draws sigmas and an order of its own")

    @classmethod
    def of(cls, reflow: Reflow, round: int) -> ReflowJob:
        """The job of a recipe's section for one of its rounds."""
        return cls(**dict(reflow), round=round)
