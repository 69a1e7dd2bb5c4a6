"""Reading an evaluation: its schema, its records, its numbers as people read them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.errors import UserError
from tasks.evaluate.measured import Measured, at_steps, fullest, read_metrics, shown, shown_with_interval
from tasks.evaluate.metrics import METRICS
from tests.tasks import small_run

RECORDS = [Measured.model_validate(record) for record in small_run.records()]


def test_metrics_of_another_schema_are_refused_by_field(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text('{"schema_version": 1, "protocol": {}, "records": []}')
    with pytest.raises(UserError, match=r"metrics\.json: schema_version: .*2.*found 1"):
        read_metrics(path)
    path.write_text('{"schema_version": 2, "protocol": {}, "records": [{"model": "teacher", "steps": "few"}]}')
    with pytest.raises(UserError, match=r"records\.0\.steps"):
        read_metrics(path)
    path.write_text("no JSON")
    with pytest.raises(UserError, match=r"the whole file: .* Run the stage evaluate again\.$"):
        read_metrics(path)


def test_a_metric_that_came_later_is_absent_from_an_older_file_and_one_that_went_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    record = {"model": "teacher", "steps": 4, "clip_score": 0.5, "number_of_old": 3.0}
    path.write_text(json.dumps({"schema_version": 2, "protocol": {"num_images": 3}, "records": [record]}))
    (read,) = read_metrics(path).records
    assert read.number("clip_score") == 0.5 and read.number("straightness") is None
    assert not hasattr(read, "number_of_old")


def test_only_finite_numbers_are_numbers() -> None:
    record = RECORDS[1].model_copy(update={"clip_score": float("nan"), "straightness": float("-inf")})
    assert record.number("clip_score") is None and record.number("straightness") is None
    assert record.number("steps") == 25.0


def test_records_are_found_by_model_and_steps() -> None:
    most, few = fullest(RECORDS, "2-rf"), at_steps(RECORDS, "2-rf", 4)
    assert most is not None and (most.model, most.steps) == ("2-rf", 25)
    assert few is not None and (few.model, few.steps) == ("2-rf", 4)
    assert fullest(RECORDS, "3-rf") is None and at_steps(RECORDS, "student", 4) is None
    assert fullest([Measured(model="old"), *RECORDS], "old") == Measured(model="old"), "steps may be absent"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.81234, "", "0.812"), (0.00042, "", "4.2e-04"), (0.0, "", "0"), (953.4, "", "953"), (1234.5, "", "1,234"),
        (-1234.5, "", "-1,234"), (None, "", "–"), (float("nan"), "%", "–"), (0.9754, "%", "97.5 %"),
        (0.0446, "s", "44.6 ms"), (1.234, "s", "1.23 s"), (0.0, "s", "0 s"),
    ],
)  # fmt: skip
def test_a_number_is_shown_with_three_digits(value: float | None, unit: str, text: str) -> None:
    assert shown(value, unit) == text


@pytest.mark.parametrize(
    ("key", "value", "interval", "text"),
    [
        ("frechet_distance", 0.3394, 0.0217, "0.339 ± 0.022"), ("frechet_distance", 953.4, 12.3, "953 ± 12"),
        ("attribute_accuracy", 0.9754, 0.0123, "97.5 % ± 1.2"), ("seconds_per_image", 0.0446, 0.0031, "44.6 ms ± 3.1"),
        ("clip_score", 0.7, None, "0.7"), ("clip_score", None, None, "–"),
    ],
)  # fmt: skip
def test_an_interval_stands_beside_its_number(key: str, value: float | None, interval: float | None, text: str) -> None:
    metric = next(one for one in METRICS if one.key == key)
    record = Measured.model_validate({"model": "teacher", key: value, f"{key}_interval": interval})
    assert shown_with_interval(record, metric) == text
