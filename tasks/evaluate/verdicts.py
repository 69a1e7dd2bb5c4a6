"""What an evaluation says of an algorithm's claims: beyond its interval a bound is met or missed, else undecided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from tasks.claims import Claim, StepwiseClaim
from tasks.evaluate.measured import Measured, at_steps, fullest, shown, shown_with_interval
from tasks.evaluate.metrics import BY_KEY, Metric

Outcome = Literal["met", "missed", "undecided", "not measured"]
"""Undecided: the bound lies within the interval."""


@dataclass(frozen=True)
class Verdict:
    """A claim as a number; ``outcome`` is None for one without a bound."""

    title: str
    headline: str
    detail: str
    bound: str
    outcome: Outcome | None
    paper: str
    caveat: str = ""


class Estimate(NamedTuple):
    """A number and half the width of its 95 % interval."""

    value: float
    interval: float

    @classmethod
    def of(cls, record: Measured | None, metric: Metric) -> Estimate | None:
        """A record's number; without an interval of its own nothing can be decided by it."""
        value = record.number(metric.key) if record else None
        if record is None or value is None:
            return None
        interval = record.number(metric.interval_key)
        return cls(value, math.inf if interval is None else interval)

    def over(self, other: Estimate) -> Estimate:
        """The ratio. Both are taken as independent: that they share captions and noise makes it surer than told."""
        ratio = self.value / other.value
        relative = math.hypot(self.interval / self.value if self.value else 0.0, other.interval / other.value)
        return Estimate(ratio, abs(ratio) * relative)

    def minus(self, other: Estimate) -> Estimate:
        """The difference, both taken as independent."""
        return Estimate(self.value - other.value, math.hypot(self.interval, other.interval))

    def is_at_most(self, bound: float) -> Outcome:
        """Whether it is, beyond its interval."""
        if self.value + self.interval <= bound:
            return "met"
        return "missed" if self.value - self.interval > bound else "undecided"

    def is_at_least(self, bound: float) -> Outcome:
        """Whether it is, beyond its interval."""
        return Estimate(-self.value, self.interval).is_at_most(-bound)


def verdicts(claims: Sequence[Claim | StepwiseClaim], records: Sequence[Measured], beside: str = "") -> list[Verdict]:
    """One for each claim, in their order; with what times were measured `beside`, in words, where it is of them."""
    return [
        replace(_verdict(claim, records), caveat=beside if BY_KEY[claim.metric].is_timed else "") for claim in claims
    ]


def _verdict(claim: Claim | StepwiseClaim, records: Sequence[Measured]) -> Verdict:
    return _stepwise(claim, records) if isinstance(claim, StepwiseClaim) else _ratio(claim, records)


def _ratio(claim: Claim, records: Sequence[Measured]) -> Verdict:
    metric = BY_KEY[claim.metric]
    measured = [record for record in records if record.number(metric.key) is not None]
    found = [fullest(measured, model) for model in (claim.of, claim.against)]
    a, b = (Estimate.of(record, metric) for record in found)
    ratio = a.over(b) if a is not None and b is not None and b.value else None
    of, against = (shown_with_interval(record, metric) if record else shown(None) for record in found)
    return Verdict(
        title=claim.title,
        headline=_written(ratio, claim),
        detail=claim.detail.format(of=of, against=against),
        bound=_bound(claim),
        outcome=_outcome(ratio, claim),
        paper=claim.paper,
    )


def _written(ratio: Estimate | None, claim: Claim) -> str:
    if ratio is None:
        return shown(None)
    scale, digits = (100, ".1f") if claim.shown_as == "%" else (1, ".2g")
    number = shown(ratio.value, "%").removesuffix(" %") if claim.shown_as == "%" else shown(ratio.value)
    sure = f" ± {scale * ratio.interval:{digits}}" if math.isfinite(ratio.interval) else ""
    return f"{number}{sure} {claim.shown_as}"


def _bound(claim: Claim) -> str:
    bounds = {"at least": claim.at_least, "at most": claim.at_most}
    scale = 100 if claim.shown_as == "%" else 1
    stated = ((word, value) for word, value in bounds.items() if value is not None)
    return ", ".join(f"{word} {scale * value:g} {claim.shown_as}" for word, value in stated)


def _outcome(ratio: Estimate | None, claim: Claim) -> Outcome | None:
    if claim.at_least is None and claim.at_most is None:
        return None
    if ratio is None:
        return "not measured"
    least = [] if claim.at_least is None else [ratio.is_at_least(claim.at_least)]
    most = [] if claim.at_most is None else [ratio.is_at_most(claim.at_most)]
    return _all([*least, *most])


def _all(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of several claims at once: one that is missed breaks them, one that is open leaves them open."""
    order: tuple[Outcome, ...] = ("missed", "not measured", "undecided")
    return next((one for one in order if one in outcomes), "met")


def _stepwise(claim: StepwiseClaim, records: Sequence[Measured]) -> Verdict:
    metric = BY_KEY[claim.metric]
    rows = [(at_steps(records, claim.of, steps), at_steps(records, claim.against, steps)) for steps in claim.steps]
    outcomes = [_is_lower(Estimate.of(a, metric), Estimate.of(b, metric)) for a, b in rows]
    told = [one for one in outcomes if one != "not measured"]
    there = [(steps, a, b) for steps, (a, b) in zip(claim.steps, rows, strict=True) if a and b]
    *most, last = map(str, claim.steps)
    return Verdict(
        title=claim.title,
        headline=f"{told.count('met')} of {len(told)}" if told else "–",
        detail=claim.detail.format(
            steps=_row([steps for steps, _, _ in there] or claim.steps),
            of=_row([shown_with_interval(a, metric) for _, a, _ in there]),
            against=_row([shown_with_interval(b, metric) for _, _, b in there]),
        ),
        bound=f"lower at {', '.join(most)} and {last} steps",
        outcome=_all(outcomes),
        paper=claim.paper,
    )


def _is_lower(a: Estimate | None, b: Estimate | None) -> Outcome:
    return "not measured" if a is None or b is None else a.minus(b).is_at_most(0.0)


def _row(values: Sequence[object]) -> str:
    return " / ".join(map(str, values)) or "–"
