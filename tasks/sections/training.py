"""What trainings are told, whatever they train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, model_validator

from infra.recipe import ASIDE, Count, Fraction, Rate, Section, Seed, as_before
from tasks.sections.stopping import StopIf

Precision = Literal["fp32", "bf16"]
Decay = Literal["constant", "cosine"]


def every_steps(default: int) -> Any:
    """A field: how many steps lie between two checkpoints."""
    text = "training steps between two checkpoints"
    return Field(default=default, description=text, json_schema_extra=ASIDE)


def warmup(default: int, when: str = "") -> Any:
    """A field: how many steps the learning rate rises; `when` says at which moments."""
    text = "steps over which the learning rate rises linearly to its value" + when
    return Field(default=default, ge=0, description=text)


def ema() -> Any:
    """A field: how slowly the average of the weights moves."""
    text = "decay per step of the exponential moving average of the weights (kept in fp32); 0 is off"
    return Field(default=0.999, description=text)


def dropout() -> Any:
    """A field: how often a sample goes without its text."""
    return Field(default=0.1, description="fraction of samples trained with the empty prompt")


class Trained(Section):
    """What every training is told."""

    seed: Seed = Field(default=0, description="seed of the stage's random numbers")
    checkpoint_every_steps: Count = every_steps(1000)
    checkpoint_every_minutes: Rate = Field(
        default=30.0,
        description="minutes after which there is a checkpoint even if those steps are not done yet",
        json_schema_extra=ASIDE,
    )


class Training(Trained):
    """What the trainings of the chain have in common."""

    warmup_steps: int = warmup(200, ", at the beginning of each phase")
    decay: Decay = Field(
        default="constant",
        description="what follows the warm-up: a constant learning rate (the paper) or half a cosine down to 0",
    )
    ema_decay: Fraction = ema()
    gradient_clip: Rate = Field(default=1.0, description="largest norm of the gradient; a larger one is scaled down")
    evaluate_every_steps: Count | None = Field(
        default=None,
        description="training steps between two looks at how the average of the weights draws a few of its own pairs"
        " in one step: distance to its teacher, S and a small sheet, beside the checkpoints. null: none",
        json_schema_extra=ASIDE,
    )
    stop_if: StopIf = Field(default=StopIf(), description="rules that end it early", json_schema_extra=ASIDE)
    precision: Precision = Field(default="fp32", description="number format of the forward and backward pass")
    checkpoint_every_steps: Count = every_steps(500)
    shuffle_shards: Annotated[int, Field(ge=2)] | None = Field(
        default=None,
        description="shards of pairs that are held at a time: half of them are shuffled while the other half comes, for"
        " data that is far away or larger than the cache. null: an exact shuffle of all pairs, for data that is local",
        json_schema_extra=as_before(None),
    )

    @model_validator(mode="after")
    def _looks_where_rules_need_it(self) -> Training:
        seen = {"distance_to_own_teacher", "straightness"} & {*self.stop_if.told()}
        if seen and self.evaluate_every_steps is None:
            raise ValueError(f"stop_if.{min(seen)} is measured where evaluate_every_steps says how often. Give both")
        return self


class Phase(Protocol):
    """A part of a training: each has batches and a learning rate of its own."""

    @property
    def steps(self) -> int:
        """Its training steps."""


def steps_of(phases: Sequence[Phase]) -> dict[str, int]:
    """The steps of each phase, by the field that says so."""
    return {f"phases.{number}.steps": phase.steps for number, phase in enumerate(phases)}


def require_warmed_up(warmup_steps: int, steps: Mapping[str, int]) -> None:
    """Raise ValueError for a warm-up longer than a training; `steps` of each, by the field that says so."""
    for field, count in steps.items():
        if warmup_steps > count:
            raise ValueError(
                f"warmup_steps {warmup_steps} is longer than {field} {count}: the learning rate would never reach its"
                " value. Warm up for fewer steps or train for more"
            )
