"""Rules that end a training are checked when the recipe is read."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tasks.sections import Reflow
from tasks.sections.stopping import StopIf


@pytest.mark.parametrize("rule", ["nan", "> 0.5", ">3", "> 2x best", "> 1.5x best", "> 1e-3"])
def test_a_rule_is_kept_as_it_is_told(rule: str) -> None:
    assert StopIf(loss=rule).told() == {"loss": rule}


@pytest.mark.parametrize("rule", ["", "NaN", "< 2", "> -1", "> 2 best", "> 2x worst", "> nan", "> 2x best or so", "2"])
def test_what_is_no_rule_is_refused(rule: str) -> None:
    with pytest.raises(ValidationError):
        StopIf(loss=rule)


def test_what_nobody_measures_cannot_be_a_rule() -> None:
    rules = StopIf(distance_to_own_teacher="> 2x best")
    with pytest.raises(ValidationError, match=r"stop_if\.distance_to_own_teacher is measured where evaluate_every"):
        Reflow(stop_if=rules)
    assert Reflow(stop_if=rules, evaluate_every_steps=100).stop_if == rules


def test_how_a_training_is_watched_is_no_part_of_what_it_makes() -> None:
    watched = Reflow(stop_if=StopIf(loss="nan", straightness="> 1"), evaluate_every_steps=100)
    assert watched.identity() == Reflow().identity()
