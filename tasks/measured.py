"""Reading an evaluation: the schema of `metrics.json`, and what its numbers have to satisfy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from infra.errors import UserError

FEW_STEPS = (1, 2, 4)


class Measured(BaseModel):
    """One model at one number of solver steps; null is what does not apply."""

    model_config = ConfigDict(frozen=True)

    model: str = Field(description="teacher, 2-rf, student, direct or floor (the teacher against itself)")
    steps: int | None = Field(default=None, description="solver steps")
    guidance: float | None = Field(default=None, description="guidance scale, 1 is off")
    solver: str | None = Field(default=None, description="dpmsolver++, ddim or euler")
    num_images: int | None = Field(default=None, description="pictures measured")
    frechet_distance: float | None = Field(default=None, description="to the teacher's pictures")
    frechet_distance_coco: float | None = Field(default=None, description="to the real pictures")
    clip_score: float | None = Field(default=None, description="mean cosine of picture and caption")
    attribute_accuracy: float | None = Field(
        default=None, description="fraction of the stated attributes that the picture shows"
    )
    straightness: float | None = Field(default=None, description="S per element, 0 iff straight")
    distance_to_own_teacher: float | None = Field(
        default=None, description="mean squared, per element of the latent, from the same noise"
    )
    seconds_per_image: float | None = Field(default=None, description="batch 1, s")
    images_per_second: float | None = Field(default=None, description="at the best batch size")

    def number(self, name: str) -> float | None:
        """A field's value; None when it is absent or not finite."""
        value = getattr(self, name)
        return float(value) if value is not None and math.isfinite(value) else None


def parquet_schema() -> pa.Schema:
    """The columns of `metrics.parquet`: typed also where every value is absent."""
    types = {"model": pa.string(), "solver": pa.string(), "steps": pa.int64(), "num_images": pa.int64()}
    return pa.schema([(name, types.get(name, pa.float64())) for name in Measured.model_fields])


class Metrics(BaseModel):
    """The content of `metrics.json`."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1]
    protocol: dict[str, JsonValue]
    records: tuple[Measured, ...]


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


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper as a number: ``holds`` is None when it was not measured or has no bound."""

    title: str
    headline: str
    detail: str
    bound: str
    holds: bool | None
    paper: str


def claims(records: Sequence[Measured]) -> list[Claim]:
    """What the method promises, on these records."""
    return [
        _accuracy(records),
        _fidelity(records),
        _few_steps(records),
        _gap(records),
        _straight(records),
        _speed(records),
    ]


def _pair(records: Sequence[Measured], field: str, first: str, second: str) -> tuple[float | None, float | None]:
    measured = [record for record in records if record.number(field) is not None]
    found = [fullest(measured, first), fullest(measured, second)]
    a, b = (record.number(field) if record else None for record in found)
    return a, b


def _ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a is not None and b else None


def _accuracy(records: Sequence[Measured]) -> Claim:
    student, teacher = _pair(records, "attribute_accuracy", "student", "teacher")
    ratio = _ratio(student, teacher)
    return Claim(
        "One step shows what the prompt says",
        shown(ratio, "%"),
        f"of the teacher's attribute accuracy: {shown(student, '%')} against {shown(teacher, '%')}",
        "at least 95 %",
        None if ratio is None else ratio >= 0.95,
        "CLIP score on COCO: .304 in one step, .318 for the teacher in 25",
    )


def _fidelity(records: Sequence[Measured]) -> Claim:
    student, floor = _pair(records, "frechet_distance", "student", "floor")
    ratio = _ratio(student, floor)
    return Claim(
        "One step looks like the teacher",
        f"{shown(ratio)} ×",
        f"the floor: Fréchet distance {shown(student)} against {shown(floor)} for the teacher and itself",
        "at most 1.5 ×",
        None if ratio is None else ratio <= 1.5,
        "FID on COCO: 23.4 in one step, 20.1 for the teacher in 25",
    )


def _few_steps(records: Sequence[Measured]) -> Claim:
    rows = []
    for steps in FEW_STEPS:
        straight, teacher = at_steps(records, "2-rf", steps), at_steps(records, "teacher", steps)
        if straight and teacher:
            rows.append((steps, straight.number("frechet_distance"), teacher.number("frechet_distance")))
    better = [a < b for _, a, b in rows if a is not None and b is not None]
    detail = " / ".join(shown(a) for _, a, _ in rows), " / ".join(shown(b) for *_, b in rows)
    return Claim(
        "Reflow wins with few steps",
        f"{sum(better)} of {len(better)}" if better else "–",
        f"Fréchet distance with {' / '.join(str(n) for n, *_ in rows)} steps: {detail[0]} for the 2-RF,"
        f" {detail[1]} for the teacher" if rows else "Fréchet distance with 1 / 2 / 4 steps",
        "lower at 1, 2 and 4 steps",
        all(better) if len(better) == len(FEW_STEPS) else None,
        "the 2-RF beats the teacher under DPM-Solver up to 4 steps",
    )  # fmt: skip


def _gap(records: Sequence[Measured]) -> Claim:
    student, direct = _pair(records, "distance_to_own_teacher", "student", "direct")
    ratio = _ratio(student, direct)
    return Claim(
        "Reflow makes distillation easy",
        f"{shown(ratio)} ×",
        f"the direct student's distance to its own teacher: {shown(student)} against {shown(direct)}",
        "at most 0.7 ×",
        None if ratio is None else ratio <= 0.7,
        "FID gap of student and teacher: 8.9 with reflow, 18.1 without",
    )


def _straight(records: Sequence[Measured]) -> Claim:
    rectified, teacher = _pair(records, "straightness", "2-rf", "teacher")
    ratio = _ratio(rectified, teacher)
    return Claim(
        "Reflow straightens the flow",
        f"{shown(_ratio(teacher, rectified))} ×",
        f"straighter: S = {shown(rectified)} against {shown(teacher)} for the guided teacher",
        "at least 10 ×",
        None if ratio is None else ratio <= 0.1,
        "straight paths are exact in one step",
    )


def _speed(records: Sequence[Measured]) -> Claim:
    student, teacher = _pair(records, "seconds_per_image", "student", "teacher")
    return Claim(
        "One step is fast",
        f"{shown(_ratio(teacher, student))} ×",
        f"faster at batch 1: {shown(student, 's')} against {shown(teacher, 's')} a picture",
        "",
        None,
        ".09 s against .88 s on an A100",
    )
