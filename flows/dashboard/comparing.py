"""Two runs side by side: which fields of their stages differ, and which numbers, beyond their intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from flows.observed.evaluations import Evaluation
from flows.observed.known import Known
from flows.observed.run_facts import RunFacts
from infra.upkeep.runs import changed_fields
from tasks.evaluate.change import Change, change, protocol_differs
from tasks.evaluate.measured import Measured, of_own_guidance, shown_with_interval
from tasks.evaluate.metrics import METRICS, Metric

AT_MOST = 60
"""Fields, and numbers, that a comparison shows."""
_HEADINGS = Counter(metric.heading for metric in METRICS)


@dataclass(frozen=True)
class Field:
    """A field that differs, and of which stage it is."""

    where: str
    field: str
    before: JsonValue
    after: JsonValue


@dataclass(frozen=True)
class Number:
    """A number of the same model in both."""

    of: str
    name: str
    before: str
    after: str
    verdict: Change


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs."""

    fields: Sequence[Field]
    fields_left_out: int
    numbers: Sequence[Number]
    numbers_left_out: int
    protocol: Sequence[str]
    """Fields of the protocol that differ, so that the numbers cannot be compared."""
    is_disturbed: bool
    """Whether the times of either were measured beside other work."""


def compared(known: Known, before: RunFacts, after: RunFacts) -> Comparison:
    """The second run against the first."""
    fields = [*_fields(known, before, after)]
    a, b = known.evaluation_of(before.record), known.evaluation_of(after.record)
    numbers = sorted(_numbers(a, b), key=lambda one: one.verdict not in ("better", "worse")) if a and b else []
    protocol = [*protocol_differs(a.metrics, b.metrics)] if a and b else []
    return Comparison(
        fields[:AT_MOST],
        max(0, len(fields) - AT_MOST),
        numbers[:AT_MOST],
        max(0, len(numbers) - AT_MOST),
        protocol,
        any(one.is_disturbed for one in (a, b) if one),
    )


def _fields(known: Known, before: RunFacts, after: RunFacts) -> Iterator[Field]:
    """Of the stages that both have, then of what they were made with."""
    a, b = _configs(known, before), _configs(known, after)
    for stage, config in b.items():
        for field, old, new in changed_fields(a[stage], config) if stage in a else ():
            yield Field(stage, field, old, new)
    made = (dict[str, JsonValue](before.record.environment), dict[str, JsonValue](after.record.environment))
    for field, old, new in changed_fields(*made):
        yield Field("made with", field, old, new)


def _configs(known: Known, run: RunFacts) -> Mapping[str, Mapping[str, JsonValue]]:
    artifacts = known.seen.artifacts
    return {
        stage.stage: artifacts[stage.artifact].manifest.config
        for stage in run.record.stages
        if stage.artifact in artifacts
    }


def _numbers(a: Evaluation, b: Evaluation) -> Iterator[Number]:
    if a.base == b.base:  # the same pictures: nothing can differ
        return
    before = {(one.model, one.steps): one for one in of_own_guidance(a.of_models)}
    for new in of_own_guidance(b.of_models):
        if old := before.get((new.model, new.steps)):
            yield from (_number(b.label(new), metric, old, new) for metric in METRICS if _differs(metric, old, new))


def _differs(metric: Metric, old: Measured, new: Measured) -> bool:
    """Whether both have the number, and not the same one."""
    numbers = [one.number(metric.key) for one in (old, new)]
    return None not in numbers and numbers[0] != numbers[1]


def _number(of: str, metric: Metric, old: Measured, new: Measured) -> Number:
    before, after = (shown_with_interval(one, metric) for one in (old, new))
    name = metric.heading if _HEADINGS[metric.heading] == 1 else metric.key.replace("_", " ")
    return Number(of, name, before, after, change(metric, old, new))
