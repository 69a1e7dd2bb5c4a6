"""What follows from what was read."""

from __future__ import annotations

from tests.flows.observed.small_store import DAMAGED, UNFINISHED, Small


def test_everything_has_a_card(small: Small) -> None:
    known = small.known
    assert all(known.has_card(base) for base in (DAMAGED, UNFINISHED, *(one.base for one in small.made.values())))
    assert not known.has_card("pairs/ffffffffffffffff")


def test_a_run_is_seen_beside_the_one_before_of_its_recipe(small: Small) -> None:
    runs = {run_id[-6:]: run for run_id, run in small.known.runs.items()}
    before = {name: one.record.run_id[-6:] for name, run in runs.items() if (one := small.known.before(run))}
    assert before == {"bbbbbb": "aaaaaa", "eeeeee": "bbbbbb"}, "what was sent to another worker is no run before"


def test_a_run_has_its_evaluation(small: Small) -> None:
    runs = {run_id[-6:]: run.record for run_id, run in small.known.runs.items()}
    found = small.known.evaluation_of(runs["bbbbbb"])
    assert found and found.base == small.made["evaluate again"].base
    assert small.known.evaluation_of(runs["cccccc"]) is None
