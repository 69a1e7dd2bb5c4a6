"""From one evaluation to the next: which numbers changed beyond their intervals, and whether they can be compared."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal

from infra.upkeep.runs import changed_fields
from tasks.evaluate.measured import Measured, Metrics, of_own_guidance, shown_with_interval
from tasks.evaluate.metrics import METRICS, Metric
from tasks.evaluate.verdicts import Estimate

APART = ("load", "machine", "measured", "versions", "trained_with")
"""Fields of a protocol that may differ without a number losing its meaning."""

Change = Literal["better", "worse", "", "no interval"]


def change(metric: Metric, old: Measured, new: Measured) -> Change:
    """Whether the new number is better or worse than the old one, beyond the interval of their difference."""
    a, b = Estimate.of(old, metric), Estimate.of(new, metric)
    if a is None or b is None or old.number(metric.interval_key) is None or new.number(metric.interval_key) is None:
        return "no interval"
    difference = b.minus(a)
    if abs(difference.value) <= difference.interval:
        return ""
    return "better" if (difference.value < 0) == (metric.better == "lower") else "worse"


def protocol_differs(a: Metrics, b: Metrics) -> Iterator[str]:
    """Fields in which two protocols differ so that their numbers cannot be compared."""
    for field, _, _ in changed_fields(a.protocol, b.protocol):
        if not field.startswith(APART):
            yield field


def worse(before: Metrics, after: Metrics, models: Collection[str]) -> list[str]:
    """Those of the models whose Frechet distance got worse, a sentence each; none where the two cannot be compared."""
    if any(protocol_differs(before, after)):
        return []
    old = {_of(one): one for one in of_own_guidance(before.records) if one.model in models}
    pairs = [(old[_of(one)], one) for one in of_own_guidance(after.records) if _of(one) in old]
    distances = [metric for metric in METRICS if metric.reduced == "frechet"]
    return [
        f"{_name(new)}: {metric.heading} {shown_with_interval(new, metric)}, before {shown_with_interval(old, metric)}"
        for metric in distances
        for old, new in pairs
        if change(metric, old, new) == "worse"
    ]


def _of(record: Measured) -> tuple[str, int | None]:
    return record.model, record.steps


def _name(record: Measured) -> str:
    return record.model if record.steps is None else f"{record.model}, {record.steps} step{'s' * (record.steps != 1)}"
