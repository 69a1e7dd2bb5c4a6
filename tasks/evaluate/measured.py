"""Reading an evaluation: the schema of `metrics.json`, and its records by model and number of steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, create_model

from infra.errors import UserError
from tasks.evaluate.metrics import METRICS, Metric


class Cell(BaseModel):
    """What a record is of."""

    model_config = ConfigDict(frozen=True)

    model: str = Field(
        description="teacher, 2-rf, student, direct or floor (the teacher against itself); model or pictures, measured"
        " alone"
    )
    steps: int | None = Field(default=None, description="solver steps; null for pictures")
    guidance: float | None = Field(default=None, description="guidance scale, 1 is off")
    solver: str | None = Field(default=None, description="dpmsolver++, ddim or euler")
    num_images: int | None = Field(default=None, description="pictures measured")

    def number(self, name: str) -> float | None:
        """A field's value; None when it is absent or not finite."""
        value = getattr(self, name)
        return float(value) if value is not None and math.isfinite(value) else None


def _fields() -> Iterator[tuple[str, str]]:
    for metric in METRICS:
        yield metric.key, metric.meaning
        yield metric.interval_key, "half the width of its 95 % interval"


if TYPE_CHECKING:
    Measured: TypeAlias = Cell
else:
    Measured = create_model(
        "Measured",
        __base__=Cell,
        __module__=__name__,
        __doc__="One model at one number of solver steps; null is what does not apply.",
        **{key: (float | None, Field(default=None, description=meaning)) for key, meaning in _fields()},
    )


class Metrics(BaseModel):
    """The content of `metrics.json`."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[2]
    protocol: dict[str, JsonValue]
    records: tuple[Measured, ...]

    @property
    def beside(self) -> str:
        """In words, what times were measured beside; empty where the machine did nothing else, or nobody knows."""
        load = self.protocol.get("load")
        if not isinstance(load, dict) or not load.get("disturbed"):
            return ""
        return (
            f"measured beside other work: {load.get('used_by_others')} of {load.get('cores')} cores were busy with it"
        )


def read_metrics(path: Path) -> Metrics:
    """The metrics in a file. Raises UserError naming the first field that does not fit."""
    try:
        return Metrics.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise UserError(
            f"{path}: {where}: {first['msg']}, found {first['input']!r:.60}. Run the stage evaluate again."
        ) from error


def fullest(records: Sequence[Measured], model: str) -> Measured | None:
    """The model's record with the most steps."""
    found = [record for record in records if record.model == model]
    return max(found, key=lambda record: record.steps or 0, default=None)


def at_steps(records: Sequence[Measured], model: str, steps: int) -> Measured | None:
    """The model's record with that many steps."""
    return next((record for record in records if (record.model, record.steps) == (model, steps)), None)


def of_own_guidance(records: Sequence[Measured]) -> list[Measured]:
    """One record of each model and number of steps: that of the guidance that is its own, which comes first."""
    found: dict[tuple[str, int | None], Measured] = {}
    for record in records:
        found.setdefault((record.model, record.steps), record)
    return list(found.values())


def measured_anywhere(records: Sequence[Measured]) -> list[Metric]:
    """The metrics that some record has."""
    return [metric for metric in METRICS if any(record.number(metric.key) is not None for record in records)]


def with_label(records: Sequence[Measured]) -> list[Metric]:
    """What was measured and a small table shows; the distance to real pictures where there is none to a teacher's."""
    measured = measured_anywhere(records)
    has_distance = any(metric.label for metric in measured if metric.reduced == "frechet")
    return [metric for metric in measured if metric.label or (metric.reduced == "frechet" and not has_distance)]


def shown_with_interval(record: Measured, metric: Metric) -> str:
    """A record's number with its interval, e.g. `0.339 ± 0.02`; a dash for none."""
    value, interval = record.number(metric.key), record.number(metric.interval_key)
    text = shown(value, metric.unit)
    return text if value is None or interval is None else f"{text} ± {_like(interval, value, metric.unit)}"


def _like(interval: float, value: float, unit: str) -> str:
    """An interval with two significant digits, in the unit that its value is shown in."""
    if unit == "%":
        return f"{100 * interval:.1f}"
    scaled = (1000 if unit == "s" and 0 < value < 1 else 1) * interval
    return f"{scaled:.2g}" if scaled < 10 else f"{scaled:,.0f}"


def shown(value: float | None, unit: str = "") -> str:
    """A number with three significant digits; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    if unit == "%":
        return f"{100 * value:.1f} %"
    if unit == "s":
        return f"{1000 * value:.3g} ms" if 0 < value < 1 else f"{value:.3g} s"
    if value and abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
