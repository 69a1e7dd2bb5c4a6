"""A recipe of the tests' own: every kind of field that recipes have, and nothing of what they are about."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from infra.recipe import ASIDE, Count, Counts, Fraction, Rate, Section


class Phase(Section):
    """A part of the baking."""

    minutes: Count = Field(default=10, description="how long")
    heat: Rate = Field(default=1e-4, description="how hot")


class Oven(Section):
    """Where it is baked."""

    kind: Literal["wood", "gas"] = Field(default="wood", description="what burns")
    degrees: Count = Field(default=200, description="how hot it is")
    steam: Fraction = Field(default=0.1, description="share of the time under steam")
    brand: str | None = Field(default=None, description="whose it is", json_schema_extra=ASIDE)


class Bread(Section):
    """The recipe."""

    name: str = Field(pattern="^[a-z]+$", description="what it is called")
    oven: Oven = Field(default=Oven(), description="the oven")
    glaze: Phase | None = Field(default=None, description="set to glaze it")
    phases: tuple[Phase, ...] = Field(default=(Phase(),), min_length=1, strict=False, description="in order")
    loaves: Counts = Field(default=(1, 2), description="loaves of each day")

    @model_validator(mode="after")
    def _burns(self) -> Bread:
        if self.glaze is not None and self.oven.kind == "gas":
            raise ValueError("a glaze needs `oven.kind` wood")
        return self
