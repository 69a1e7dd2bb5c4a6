"""Distillation: training of the one-step student, and of its baseline."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from infra.recipe import ASIDE, Count, Rate, Section, as_before
from tasks.sections.perceptual import Perceiving, Perceptual
from tasks.sections.training import require_warmed_up, steps_of, warmup


class DistillPhase(Section):
    """One phase of a distillation."""

    loss: Literal["l2", "huber", "perceptual", "lpips_huber"] = Field(
        default="l2",
        description="l2, huber: between latents; perceptual: between decoded images; lpips_huber: both of these",
    )
    latent_weight: float = Field(
        default=0.0,
        ge=0,
        description="weight of the squared latent error that is added to a perceptual distance; none in the paper",
    )
    steps: Count = Field(default=3000, description="training steps of the phase")
    batch_size: Count = Field(default=64, description="pairs per step")
    learning_rate: Rate = Field(default=3e-4, description="peak learning rate, per step")

    @property
    def compares_pictures(self) -> bool:
        """Whether its distance is one of decoded images."""
        return self.loss in ("perceptual", "lpips_huber")


class Distill(Perceiving):
    """Training of the one-step student, phase after phase."""

    architecture: Literal["same", "stacked"] = Field(
        default="same",
        description="same: the network that is distilled; stacked: two of it in series (InstaFlow-1.7B)",
        json_schema_extra=as_before("same"),
    )
    parameterization: Literal["raw", "epsilon"] = Field(
        default="raw",
        description="what a diffusion model becomes: raw: its output is a velocity; epsilon: it stays one, and is"
        " distilled at its last timestep (Rectified Diffusion). A flow stays what it is",
        json_schema_extra=as_before("raw"),
    )
    phases: tuple[DistillPhase, ...] = Field(
        default=(
            DistillPhase(),
            DistillPhase(loss="perceptual", steps=1000, batch_size=32, learning_rate=1e-4),
        ),
        min_length=1,
        strict=False,
        description="the phases, in order",
    )
    warmup_steps: int = warmup(100, ", at the beginning of each phase")
    perceptual: Perceptual = Field(default=Perceptual(), description="the distance of the perceptual phases")

    @model_validator(mode="after")
    def _warms_up(self) -> Distill:
        require_warmed_up(self.warmup_steps, steps_of(self.phases))
        return self

    @property
    def compares_pictures(self) -> bool:
        """Whether a phase does."""
        return any(phase.compares_pictures for phase in self.phases)


class Direct(Distill):
    """The baseline: the same distillation, straight from the teacher."""

    enabled: bool = Field(default=True, description="whether to train the baseline at all", json_schema_extra=ASIDE)
