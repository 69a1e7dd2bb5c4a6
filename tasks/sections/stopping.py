"""Rules by which a training that goes wrong ends before its time."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from infra.recipe import Section

NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?"
Rule = Annotated[str, Field(pattern=rf"^(?:nan|> *{NUMBER}(?:x best)?)$")]


class StopIf(Section):
    """When a number of a training ends it, its checkpoints kept: `nan` when it is none, `> 0.5` when it is larger.

    `> 2x best` is: than twice the smallest so far. What is no number breaks every rule.
    """

    loss: Rule | None = Field(default=None, description="mean of the steps up to a point of the curve")
    gradient_norm: Rule | None = Field(default=None, description="before clipping, mean of the same steps")
    distance_to_own_teacher: Rule | None = Field(default=None, description="of the weights' average, at each look")
    straightness: Rule | None = Field(default=None, description="S of the weights' average, at each look at a flow")

    def told(self) -> dict[str, str]:
        """The rules that are set, by the number they are about."""
        return {name: value for name, value in self if value is not None}
