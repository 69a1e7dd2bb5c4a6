"""What changed from one evaluation to the next."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.evaluate.change import change, protocol_differs
from tasks.evaluate.change import worse as worse_of
from tasks.evaluate.measured import Measured, Metrics
from tasks.evaluate.metrics import BY_KEY


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
    assert change(BY_KEY[key], *records) == says


def metrics(distance: float, **told: Any) -> Metrics:
    """Of an evaluation whose student is so far from the teacher's pictures, +- 0.5."""
    student = {"frechet_distance": distance, "frechet_distance_interval": 0.5, "clip_score": 0.7}
    floor = {"model": "floor", "steps": 25, "frechet_distance": 10 * distance, "frechet_distance_interval": 0.1}
    records = [{"model": "student", "steps": 1, "guidance": 1.0, **student}, floor]
    return Metrics.model_validate({"schema_version": 2, "protocol": {"features": "mini", **told}, "records": records})


def worse(before: Metrics, after: Metrics) -> list[str]:
    return worse_of(before, after, ["student"])


def test_a_distance_that_grew_beyond_its_interval_is_told_with_both() -> None:
    told = "student, 1 step: Fréchet distance, teacher’s 4 ± 0.5, before 3 ± 0.5"
    assert worse(metrics(3.0), metrics(4.0)) == [told]
    assert not worse(metrics(3.0), metrics(3.6)), "within the interval of the difference, 0.71"
    assert not worse(metrics(4.0), metrics(3.0)), "it got better"


def test_what_was_measured_otherwise_is_not_compared() -> None:
    assert not worse(metrics(3.0), metrics(9.0, features="inception"))
    assert [*protocol_differs(metrics(3.0), metrics(3.0, features="inception"))] == ["features"]


def test_what_else_the_machine_did_keeps_no_two_evaluations_apart() -> None:
    load = [{"used_by_others": used, "cores": 2, "disturbed": False} for used in (0.03, 0.41)]
    one, other = (metrics(distance, load=told, machine="x") for distance, told in zip((3.0, 4.0), load, strict=True))
    assert not [*protocol_differs(one, other)] and worse(one, other)
