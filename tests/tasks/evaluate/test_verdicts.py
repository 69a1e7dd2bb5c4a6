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
    assert [claim.outcome for claim in verdicts(CLAIMS, RECORDS)] == [*["met"] * 5, None]
    assert [claim.outcome for claim in verdicts(CLAIMS, worse)] == ["met", "missed", "met", "missed", "met", None]
    assert [claim.outcome for claim in verdicts(CLAIMS, [])] == [*["not measured"] * 5, None]


def test_a_claim_about_times_says_what_they_were_measured_beside() -> None:
    found = verdicts(CLAIMS, RECORDS, "beside other work")
    assert [one.caveat for one in found] == [*[""] * 5, "beside other work"]
    assert {one.caveat for one in verdicts(CLAIMS, RECORDS)} == {""}


def exact(model: str, **numbers: float) -> list[Measured]:
    """The records, but for these numbers of a model, which are known exactly."""
    return changed(model, **numbers, **{f"{name}_interval": 0.0 for name in numbers})


def test_the_claims_of_instaflow_are_told_in_these_words() -> None:
    told = [(one.headline, one.detail, one.bound) for one in verdicts(CLAIMS, RECORDS)]
    assert told[0] == (
        "98.3 ± 1.4 %", "of the teacher's attribute accuracy: 95.8 % ± 1.0 against 97.5 % ± 1.0", "at least 95 %",
    )  # fmt: skip
    assert told[1][0] == "1.28 ± 0.036 ×" and told[1][2] == "at most 1.5 ×"
    assert told[2] == (
        "3 of 3",
        "Fréchet distance with 1 / 2 / 4 steps: 4.5 ± 0.09 / 3.1 ± 0.062 / 2.8 ± 0.056 for the 2-RF,"
        " 953 ± 19 / 53.1 ± 1.1 / 8.2 ± 0.16 for the teacher",
        "lower at 1, 2 and 4 steps",
    )
    assert told[5][2] == "", "a number without a bound"


def test_both_bounds_bind_and_are_told() -> None:
    for accuracy, outcome in {0.9: "met", 0.97: "met", 0.85: "missed", 1.2: "missed"}.items():
        found = verdict(ACCURATE, exact("student", attribute_accuracy=accuracy))
        assert found.outcome == outcome and found.bound == "at least 90 %, at most 110 %"


def test_a_bound_within_the_interval_decides_nothing() -> None:
    at_least = ACCURATE.model_copy(update={"at_most": None})
    for accuracy in (0.865, 0.885):  # 88.7 % and 90.8 % of the teacher's, each within 1.4 % or more
        unsure = changed("student", attribute_accuracy=accuracy, attribute_accuracy_interval=0.03)
        assert verdict(at_least, unsure).outcome == "undecided"


def test_a_number_without_an_interval_decides_nothing() -> None:
    assert verdict(ACCURATE, changed("student", attribute_accuracy_interval=None)).outcome == "undecided"


def test_a_number_that_is_absent_or_no_number_is_not_measured() -> None:
    for accuracy in (None, float("nan"), float("inf")):
        found = verdict(ACCURATE, changed("student", attribute_accuracy=accuracy))
        assert (found.headline, found.detail, found.outcome) == ("–", "– against 97.5 % ± 1.0", "not measured")


def test_nothing_is_a_multiple_of_zero() -> None:
    found = verdict(ACCURATE, changed("teacher", attribute_accuracy=0.0))
    assert (found.headline, found.outcome) == ("–", "not measured")


def test_zero_is_a_number() -> None:
    claim = ACCURATE.model_copy(update={"at_least": None, "at_most": 1.0})
    assert verdict(claim, exact("student", attribute_accuracy=0.0)).outcome == "met"


def test_each_model_is_taken_at_its_most_steps_that_were_measured() -> None:
    claim = ACCURATE.model_copy(update={"metric": "straightness", "of": "teacher", "against": "2-rf"})
    few = [r.model_copy(update={"straightness": 1.0}) if r.steps == 1 and r.model == "2-rf" else r for r in RECORDS]
    assert verdict(claim, few).detail == "0.42 ± 0.0084 against 0.015 ± 0.0003", "at 25 steps"
    fewer = [record for record in few if (record.model, record.steps) != ("2-rf", 25)]
    assert verdict(claim, fewer).detail == "0.42 ± 0.0084 against 1"


def test_one_number_of_steps_at_which_it_is_not_lower_breaks_the_claim() -> None:
    for distance, outcome in {2.0: "missed", 2.81: "undecided"}.items():
        others = [
            r.model_copy(update={"frechet_distance": distance}) if (r.model, r.steps) == ("teacher", 4) else r
            for r in RECORDS
        ]
        found = verdict(FEWER, others)
        assert (found.headline, found.outcome) == ("2 of 3", outcome)


def test_steps_that_were_not_measured_leave_the_claim_open() -> None:
    found = verdict(FEWER, [record for record in RECORDS if record.steps != 2])
    assert (found.headline, found.outcome) == ("2 of 2", "not measured")
    assert found.detail.startswith("with 1 / 4 steps: 4.5 ± 0.09 / 2.8 ± 0.056 for one, 953 ± 19 / 8.2")
    nothing = verdict(FEWER, [])
    assert (nothing.headline, nothing.outcome) == ("–", "not measured")
    assert nothing.detail == "with 1 / 2 / 4 steps: – for one, – for the other"
