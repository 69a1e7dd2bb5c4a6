"""A reflow: its rounds, its phases, and its distance of pictures."""

from __future__ import annotations

import pytest

from flows.recipes import parse_recipe
from infra.errors import UserError
from tasks.sections import Reflow, ReflowJob


def test_a_reflow_of_before_is_told_where_its_fields_are_now() -> None:
    hint = r"Did you mean reflow\.phases=\[{steps: \.\.\.}, \.\.\.\]\?"
    with pytest.raises(UserError, match=rf"reflow\.steps: unknown key\. {hint}"):
        parse_recipe({"name": "x", "reflow": {"steps": 3}}, "test")


def test_the_number_of_rounds_is_the_algorithms_and_which_it_is_the_jobs() -> None:
    one, two = ReflowJob.of(Reflow(), 1), ReflowJob.of(Reflow(), 2)
    assert one.identity() == ReflowJob.of(Reflow(rounds=5), 1).identity() != two.identity()
    assert (one.round, two.round) == (1, 2)


def test_lpips_huber_is_a_distance_of_velocities() -> None:
    with pytest.raises(UserError, match='reflow: loss "lpips_huber" is one of velocities'):
        parse_recipe({"name": "x", "reflow": {"parameterization": "epsilon", "loss": "lpips_huber"}}, "test")


def test_fields_of_later_work_change_nothing_until_they_are_used() -> None:
    assert "perceptual" not in Reflow().identity()
