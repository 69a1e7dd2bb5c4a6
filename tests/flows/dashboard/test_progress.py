"""How far a running stage is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from flows.dashboard.progress import progress
from tests.flows.observed.small_store import NOW, Small


def test_what_is_left_is_told_by_an_earlier_run(small: Small) -> None:
    own, sent = progress(small.known, small.known.runs["2026-11-22T055000-eeeeee"])
    assert (sent.total, sent.stage.units, sent.left_s) == (12000, 6000, 60.0)
    assert own.left_s is None, "others do it"


def test_a_record_that_says_of_how_many_is_believed(small: Small) -> None:
    """Of 4,000 there were 1,000 before; 2,000 took a minute."""
    _, sent = progress(small.known, small.known.runs["2026-11-22T055000-eeeeee"])
    told = replace(sent, stage=sent.stage.model_copy(update={"units": 2000, "done": 3000}), total=4000)
    assert (told.done, told.left_s) == (3000, 30.0)


def test_a_lost_run_makes_no_progress(small: Small) -> None:
    assert not progress(small.known, small.known.runs["2026-11-22T040000-dddddd"])


def test_the_pace_is_a_line_through_what_was_committed(small: Small) -> None:
    one = progress(small.known, small.known.runs["2026-11-22T055000-eeeeee"])[1]
    assert one.pace == "" and replace(one, committed=[NOW]).pace == ""
    times = [NOW, NOW + timedelta(minutes=1), NOW + timedelta(minutes=4)]
    assert replace(one, committed=times).pace == "0.0,66.7 25.0,33.3 100.0,0.0"
    many = replace(one, committed=[NOW + timedelta(seconds=number) for number in range(5000)])
    assert len(many.pace.split()) <= 202
