"""Claims are rows: they survive the manifest, name what is measured, and shape no identity."""

from __future__ import annotations

import string

import pytest
from pydantic import ValidationError

from flows.algorithms.instaflow import CLAIMS, ROLES
from infra.recipe import Section
from tasks.claims import Claim, StepwiseClaim
from tasks.evaluate.metrics import BY_KEY
from tasks.roles import FLOOR
from tasks.sections import Report, ReportJob

RATIO = Claim(title="T", metric="clip_score", of="student", against="teacher", at_least=0.9, detail="d", paper="p")
STEPWISE = StepwiseClaim(
    title="T", metric="clip_score", of="2-rf", against="teacher", steps=(1, 2), detail="d", paper="p"
)


def test_both_kinds_of_claims_survive_a_round_trip() -> None:
    job = ReportJob.of(Report(columns=3), "mine", (RATIO, STEPWISE, *CLAIMS))
    assert ReportJob.model_validate_json(job.model_dump_json()) == job
    assert ReportJob.model_validate(job.model_dump(mode="json")) == job


def test_other_claims_are_no_other_report() -> None:
    one, other = (ReportJob.of(Report(), "instaflow", claims) for claims in ((), (RATIO, STEPWISE)))
    assert one != other and one.identity() == other.identity()


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (Claim, {"at_lest": 0.9}),
        (Claim, {"shown_as": "percent"}),
        (Claim, {"at_most": "1.5"}),
        (StepwiseClaim, {"steps": [4]}),
        (StepwiseClaim, {"at_least": 0.9}),
    ],
)
def test_what_is_no_claim_is_refused(kind: type[Section], change: dict[str, object]) -> None:
    sound = (RATIO if kind is Claim else STEPWISE).model_dump()
    assert kind.model_validate(sound)
    with pytest.raises(ValidationError, match=next(iter(change))):
        kind.model_validate({**sound, **change})


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.title)
def test_a_claim_of_the_algorithm_speaks_of_what_is_measured(claim: Claim | StepwiseClaim) -> None:
    assert claim.metric in BY_KEY
    assert {claim.of, claim.against} <= {FLOOR, *(role.name for role in ROLES)}
    told = {name for _, name, *_ in string.Formatter().parse(claim.detail) if name}
    assert told == {"of", "against", *(["steps"] if isinstance(claim, StepwiseClaim) else [])}
