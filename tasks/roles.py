"""The roles that models play in an evaluation: a role is a row, and all that shows models is drawn from it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from infra.recipe import ASIDE, Section


class Role(Section):
    """A model that is measured: what it is called, which input it is, how it is sampled, how it is drawn."""

    name: str = Field(description="in metrics, unit ids and on the command line")
    input: str = Field(description="the input of the stage evaluate that it is")
    own_teacher: str | None = Field(
        description="the role whose pictures it should draw; its own for a first teacher; null: compared with none"
    )
    sampling: Literal["teacher", "flow", "one_step", "drawn"] = Field(
        description="teacher, flow: at every evaluated number of steps, by the teacher's solver or by Euler;"
        " one_step: in one step without guidance; drawn: not at all, the input is a folder of pictures"
    )
    label: str = Field(description="its name for people", json_schema_extra=ASIDE)
    colour: str = Field(description="on light paper, #rrggbb", json_schema_extra=ASIDE)
    dark_colour: str = Field(description="on dark paper, #rrggbb", json_schema_extra=ASIDE)
    marker: Literal["circle", "square", "diamond", "triangle"] = Field(
        description="how its points are drawn; triangles are hollow, so that none hides another",
        json_schema_extra=ASIDE,
    )


# Colours after Okabe and Ito, told apart by the colour-blind.
TEACHER = Role(
    name="teacher", input="teacher", own_teacher="teacher", sampling="teacher",
    label="Teacher", colour="#0072b2", dark_colour="#56b4e9", marker="circle",
)  # fmt: skip
RECTIFIED = Role(
    name="2-rf", input="rectified", own_teacher="teacher", sampling="flow",
    label="2-RF", colour="#d55e00", dark_colour="#f58b45", marker="square",
)  # fmt: skip
STUDENT = Role(
    name="student", input="student", own_teacher="2-rf", sampling="one_step",
    label="Student", colour="#008a64", dark_colour="#2fc79b", marker="diamond",
)  # fmt: skip
DIRECT = Role(
    name="direct", input="direct", own_teacher="teacher", sampling="one_step",
    label="Direct", colour="#b5539a", dark_colour="#e08fc8", marker="triangle",
)  # fmt: skip

STANDARD = (TEACHER, RECTIFIED, STUDENT, DIRECT)
"""Teacher, rectified flow, student, and the baseline: what an evaluation is about that is told nothing else."""

FLOOR = "floor"
"""The teacher against itself, on two disjoint sets of pictures: a line of the table, no model."""
