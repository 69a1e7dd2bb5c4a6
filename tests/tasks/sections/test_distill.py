"""A distillation: fields that came later."""

from __future__ import annotations

from tasks.sections import Distill


def test_fields_of_later_work_change_nothing_until_they_are_used() -> None:
    assert {"architecture", "parameterization"}.isdisjoint(Distill().identity())
    assert Distill(architecture="stacked").identity()["architecture"] == "stacked"
