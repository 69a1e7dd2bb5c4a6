"""What an evaluation says of the claims of an algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.claims import Claim, StepwiseClaim
from tasks.evaluate.measured import Measured, at_steps, fullest, shown
from tasks.evaluate.metrics import METRICS

_METRICS = {metric.key: metric for metric in METRICS}


@dataclass(frozen=True)
class Verdict:
    """A claim as a number: ``holds`` is None when it was not measured or has no bound."""

    title: str
    headline: str
    detail: str
    bound: str
    holds: bool | None
    paper: str


def verdicts(claims: Sequence[Claim | StepwiseClaim], records: Sequence[Measured]) -> list[Verdict]:
    """One for each claim, in their order."""
    return [
        _stepwise(claim, records) if isinstance(claim, StepwiseClaim) else _ratio(claim, records) for claim in claims
    ]


def _ratio(claim: Claim, records: Sequence[Measured]) -> Verdict:
    measured = [record for record in records if record.number(claim.metric) is not None]
    found = [fullest(measured, model) for model in (claim.of, claim.against)]
    a, b = (record.number(claim.metric) if record else None for record in found)
    ratio, unit = (a / b if a is not None and b else None), _METRICS[claim.metric].unit
    return Verdict(
        title=claim.title,
        headline=_written(ratio, claim),
        detail=claim.detail.format(of=shown(a, unit), against=shown(b, unit)),
        bound=_bound(claim),
        holds=_holds(ratio, claim),
        paper=claim.paper,
    )


def _written(ratio: float | None, claim: Claim) -> str:
    return shown(ratio, "%") if claim.shown_as == "%" else f"{shown(ratio)} ×"


def _bound(claim: Claim) -> str:
    bounds = {"at least": claim.at_least, "at most": claim.at_most}
    scale = 100 if claim.shown_as == "%" else 1
    stated = ((word, value) for word, value in bounds.items() if value is not None)
    return ", ".join(f"{word} {scale * value:g} {claim.shown_as}" for word, value in stated)


def _holds(ratio: float | None, claim: Claim) -> bool | None:
    if ratio is None or (claim.at_least is None and claim.at_most is None):
        return None
    return (claim.at_least is None or ratio >= claim.at_least) and (claim.at_most is None or ratio <= claim.at_most)


def _stepwise(claim: StepwiseClaim, records: Sequence[Measured]) -> Verdict:
    rows = []
    for steps in claim.steps:
        lower, higher = at_steps(records, claim.of, steps), at_steps(records, claim.against, steps)
        if lower and higher:
            rows.append((steps, lower.number(claim.metric), higher.number(claim.metric)))
    better = [a < b for _, a, b in rows if a is not None and b is not None]
    *most, last = map(str, claim.steps)
    return Verdict(
        title=claim.title,
        headline=f"{sum(better)} of {len(better)}" if better else "–",
        detail=claim.detail.format(
            steps=_row([row[0] for row in rows] or claim.steps),
            of=_row([shown(row[1]) for row in rows]),
            against=_row([shown(row[2]) for row in rows]),
        ),
        bound=f"lower at {', '.join(most)} and {last} steps",
        holds=all(better) if len(better) == len(claim.steps) else None,
        paper=claim.paper,
    )


def _row(values: Sequence[object]) -> str:
    return " / ".join(map(str, values)) or "–"
