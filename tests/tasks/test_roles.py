"""Roles are told apart in tables and figures, and how they look is no part of what is measured."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tasks.roles import FLOOR, STANDARD, STUDENT, TEACHER, Role
from tasks.sections import EvaluateJob
from tasks.stage import stage_fingerprint
from tasks.stages import STAGES


def test_no_two_roles_look_alike() -> None:
    looks = [(role.name, role.label, role.colour, role.dark_colour, role.marker) for role in STANDARD]
    for column in zip(*looks, strict=True):
        assert len({*column}) == len(STANDARD), column
    assert FLOOR not in {role.name for role in STANDARD}, "it is no model"


def test_every_role_is_compared_with_one_that_stands_before_it() -> None:
    names = [role.name for role in STANDARD]
    for place, role in enumerate(STANDARD):
        assert role.own_teacher in names[: place + 1]
    assert TEACHER.own_teacher == TEACHER.name, "a first teacher has none but itself"


def evaluated_as(role: Role) -> str:
    """The identity of an evaluation of one role."""
    return stage_fingerprint(STAGES["evaluate"], EvaluateJob(roles=(role,)), {})


@pytest.mark.parametrize(
    ("field", "value"),
    [("label", "Pupil"), ("colour", "#000000"), ("dark_colour", "#ffffff"), ("marker", "circle")],
)
def test_how_a_role_looks_measures_nothing_anew(field: str, value: str) -> None:
    assert evaluated_as(STUDENT.model_copy(update={field: value})) == evaluated_as(STUDENT)


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "pupil"), ("input", "direct"), ("own_teacher", "teacher"), ("sampling", "flow")],
)
def test_what_a_role_is_does(field: str, value: str) -> None:
    assert evaluated_as(STUDENT.model_copy(update={field: value})) != evaluated_as(STUDENT)


def test_a_role_that_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValidationError, match="marker"):
        Role.model_validate({**STUDENT.model_dump(), "marker": "star"})
