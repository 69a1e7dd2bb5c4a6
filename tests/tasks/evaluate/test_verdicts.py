"""What an evaluation says of the claims: headline, numbers, bound, and whether it holds."""

from __future__ import annotations

from flows.algorithms.instaflow import CLAIMS
from tasks.claims import Claim, StepwiseClaim
from tasks.evaluate.measured import Measured
from tasks.evaluate.verdicts import Verdict, verdicts
from tests.tasks import small_run

RECORDS = [Measured.model_validate(record) for record in small_run.records()]
ACCURATE = Claim(
    title="It shows it", metric="attribute_accuracy", of="student", against="teacher", at_least=0.9, at_most=1.1,
    shown_as="%", detail="{of} against {against}", paper="none",
)  # fmt: skip
FEWER = StepwiseClaim(
    title="Fewer steps", metric="frechet_distance", of="2-rf", against="teacher", steps=(1, 2, 4),
    detail="with {steps} steps: {of} for one, {against} for the other", paper="none",
)  # fmt: skip


def changed(model: str, **numbers: float | None) -> list[Measured]:
    """The records, but for these numbers of a model."""
    return [record.model_copy(update=numbers) if record.model == model else record for record in RECORDS]


def verdict(claim: Claim | StepwiseClaim, records: list[Measured]) -> Verdict:
    (found,) = verdicts([claim], records)
    return found


def test_a_claim_that_is_missed_says_so() -> None:
    worse = changed("student", frechet_distance=9.0, distance_to_own_teacher=0.2)
    assert [claim.holds for claim in verdicts(CLAIMS, RECORDS)] == [True, True, True, True, True, None]
    assert [claim.holds for claim in verdicts(CLAIMS, worse)] == [True, False, True, False, True, None]
    assert all(claim.holds is None for claim in verdicts(CLAIMS, []))


def test_the_claims_of_instaflow_are_told_in_these_words() -> None:
    assert [(one.headline, one.detail, one.bound) for one in verdicts(CLAIMS, RECORDS)] == [
        ("98.3 %", "of the teacher's attribute accuracy: 95.8 % against 97.5 %", "at least 95 %"),
        ("1.28 ×", "the floor: Fréchet distance 3.2 against 2.5 for the teacher and itself", "at most 1.5 ×"),
        (
            "3 of 3",
            "Fréchet distance with 1 / 2 / 4 steps: 4.5 / 3.1 / 2.8 for the 2-RF, 953 / 53.1 / 8.2 for the teacher",
            "lower at 1, 2 and 4 steps",
        ),
        ("0.536 ×", "the direct student's distance to its own teacher: 0.052 against 0.097", "at most 0.7 ×"),
        ("28 ×", "straighter: S = 0.015 against 0.42 for the guided teacher", "at least 10 ×"),
        ("11.7 ×", "faster at batch 1: 3.8 ms against 44.6 ms a picture", ""),
    ]


def test_both_bounds_bind_and_are_told() -> None:
    for accuracy, holds in {0.9: True, 0.97: True, 0.85: False, 1.2: False}.items():
        found = verdict(ACCURATE, changed("student", attribute_accuracy=accuracy))
        assert found.holds is holds and found.bound == "at least 90 %, at most 110 %"


def test_a_number_that_is_absent_or_no_number_is_not_measured() -> None:
    for accuracy in (None, float("nan"), float("inf")):
        found = verdict(ACCURATE, changed("student", attribute_accuracy=accuracy))
        assert (found.headline, found.detail, found.holds) == ("–", "– against 97.5 %", None)


def test_nothing_is_a_multiple_of_zero() -> None:
    found = verdict(ACCURATE, changed("teacher", attribute_accuracy=0.0))
    assert (found.headline, found.holds) == ("–", None)


def test_each_model_is_taken_at_its_most_steps_that_were_measured() -> None:
    claim = ACCURATE.model_copy(update={"metric": "straightness", "of": "teacher", "against": "2-rf"})
    few = [r.model_copy(update={"straightness": 1.0}) if r.steps == 1 and r.model == "2-rf" else r for r in RECORDS]
    assert verdict(claim, few).detail == "0.42 against 0.015", "at 25 steps"
    fewer = [record for record in few if (record.model, record.steps) != ("2-rf", 25)]
    assert verdict(claim, fewer).detail == "0.42 against 1"


def test_one_number_of_steps_at_which_it_is_not_lower_breaks_the_claim() -> None:
    lower = [
        r.model_copy(update={"frechet_distance": 2.0}) if (r.model, r.steps) == ("teacher", 4) else r for r in RECORDS
    ]
    found = verdict(FEWER, lower)
    assert (found.headline, found.holds) == ("2 of 3", False)


def test_steps_that_were_not_measured_leave_the_claim_open() -> None:
    found = verdict(FEWER, [record for record in RECORDS if record.steps != 2])
    assert (found.headline, found.holds) == ("2 of 2", None)
    assert found.detail == "with 1 / 4 steps: 4.5 / 2.8 for one, 953 / 8.2 for the other"
    nothing = verdict(FEWER, [])
    assert (nothing.headline, nothing.holds) == ("–", None)
    assert nothing.detail == "with 1 / 2 / 4 steps: – for one, – for the other"
