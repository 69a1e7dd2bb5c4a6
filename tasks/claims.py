"""What an algorithm promises, as rows: the algorithm states them, the evaluation judges them (evaluate/verdicts.py)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from infra.recipe import Section


class Claim(Section):
    """A ratio of two models' numbers, each at its most steps, with a bound if it has one.

    `detail` continues the headline; `{of}` and `{against}` stand for the two numbers.
    """

    title: str = Field(description="the promise as a sentence")
    metric: str = Field(description="key of the number")
    of: str = Field(description="role whose number is above the line")
    against: str = Field(description="role whose number is below it")
    at_least: float | None = Field(default=None, description="the ratio must not be less")
    at_most: float | None = Field(default=None, description="the ratio must not be more")
    shown_as: Literal["%", "×"] = Field(default="×", description="how the ratio is written")
    detail: str = Field(description="what the ratio is of")
    paper: str = Field(description="what the paper reports, at its own scale")


class StepwiseClaim(Section):
    """One model's number is lower than another's at each of several numbers of solver steps.

    In `detail`, `{steps}`, `{of}` and `{against}` stand for the rows of steps and numbers.
    """

    title: str = Field(description="the promise as a sentence")
    metric: str = Field(description="key of the number")
    of: str = Field(description="role whose number should be lower")
    against: str = Field(description="role whose number should be higher")
    steps: tuple[int, ...] = Field(strict=False, min_length=2, description="the numbers of steps")
    detail: str = Field(description="what is compared")
    paper: str = Field(description="what the paper reports, at its own scale")
