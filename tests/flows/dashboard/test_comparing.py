"""Two runs: which fields differ, and which numbers beyond their intervals."""

from __future__ import annotations

import pytest

from flows.dashboard.comparing import compared, verdict
from tasks.evaluate.measured import Measured
from tasks.evaluate.metrics import BY_KEY
from tests.flows.dashboard.conftest import Small
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


@pytest.mark.parametrize(
    ("key", "old", "new", "interval", "says"),
    [
        ("frechet_distance", 10.0, 5.0, 3.0, "better"),
        ("frechet_distance", 5.0, 10.0, 3.0, "worse"),
        ("frechet_distance", 10.0, 6.0, 3.0, ""),  # sqrt(2) x 3 = 4.24
        ("clip_score", 0.5, 0.9, 0.1, "better"),
        ("clip_score", 0.9, 0.5, 0.1, "worse"),
        ("clip_score", 0.9, 0.5, None, "no interval"),
    ],
)
def test_a_difference_counts_beyond_its_interval(
    key: str, old: float, new: float, interval: float | None, says: str
) -> None:
    records = (Measured(model="student", **{key: value, f"{key}_interval": interval}) for value in (old, new))
    assert verdict(BY_KEY[key], *records) == says
