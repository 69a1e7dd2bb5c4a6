"""Two runs: which fields differ, and which numbers beyond their intervals."""

from __future__ import annotations

from flows.dashboard.comparing import compared
from tests.flows.observed.small_store import Small
from tests.tasks.small_run import NASTY


def test_fields_and_numbers_that_differ_are_told(small: Small) -> None:
    runs = {run_id[-6:]: run for run_id, run in small.known.runs.items()}
    told = compared(small.known, runs["aaaaaa"], runs["bbbbbb"])
    fields = {(one.where, one.field): (one.before, one.after) for one in told.fields}
    assert fields == {("distill", "seed"): (None, 1), ("distill", "note"): (None, NASTY)}
    assert {(one.of, one.name) for one in told.numbers} == {("Student, 1 step", "Fréchet distance, teacher’s")}
    assert told.numbers[0].verdict == "better" and not told.protocol
    back = compared(small.known, runs["bbbbbb"], runs["aaaaaa"])
    assert [one.verdict for one in back.numbers] == ["worse"]
    assert not compared(small.known, runs["aaaaaa"], runs["cccccc"]).numbers
