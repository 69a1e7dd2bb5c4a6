"""What is told of which artifacts."""

from __future__ import annotations

from collections.abc import Mapping

from flows.tracking.tracked import Tracked, to_be_tracked
from tests.flows.observed.small_store import Small
from tests.flows.tracking.expected import Expected


def of(small: Small, name: str) -> Tracked:
    return next(one for one in to_be_tracked(small.known) if one.artifact.base == small.made[name].base)


def test_trainings_and_evaluations_are_told_each_once(small: Small, expected: Mapping[str, Expected]) -> None:
    told = [*to_be_tracked(small.known)]
    assert {one.artifact.base for one in told} == {*expected} and len({one.key for one in told}) == len(told) == 6
    for one in told:
        expected[one.artifact.base].require(one.numbers)


def test_another_content_is_another_run(small: Small) -> None:
    assert (
        of(small, "distill").key == f"{small.made['distill'].base.replace('/', '-')}-{small.made['distill'].digest[:8]}"
    )


def test_the_config_stands_by_its_dotted_fields(small: Small) -> None:
    told = of(small, "distill again").parameters
    assert told["seed"] == 1
    assert told["phases"] == '[{"loss": "l2", "steps": 3000}, {"loss": "perceptual", "steps": 600}]'


def test_it_says_which_run_of_which_recipe_made_it_and_of_what(small: Small) -> None:
    tags = of(small, "distill").tags
    assert tags["recipe"] == "mini" and tags["run"] == "2026-11-22T010000-aaaaaa"
    assert tags["teacher"].endswith("/teacher")
    assert of(small, "evaluate again").tags["run"] == "2026-11-22T020000-bbbbbb"
    assert of(small, "evaluate again").tags["made_of.student"] == small.made["distill again"].base


def test_an_evaluation_alone_has_a_contact_sheet(small: Small) -> None:
    sheet = of(small, "evaluate").contact_sheet()
    assert sheet is not None and min(sheet.size) > 500
    assert of(small, "distill").contact_sheet() is None
