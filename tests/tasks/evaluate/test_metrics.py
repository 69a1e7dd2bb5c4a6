"""Every row of the metrics' table can be reduced, and the table as a whole is the schema that dashboards read."""

from __future__ import annotations

from tasks.evaluate.measured import Measured
from tasks.evaluate.metrics import METRICS
from tasks.evaluate.statistics import STATISTICS

KEYS = [metric.key for metric in METRICS]


def test_the_records_fields_are_those_of_the_cell_and_the_rows_keys_in_their_order() -> None:
    assert [*Measured.model_fields] == ["model", "steps", "guidance", "solver", "num_images", *KEYS]
    assert len({*KEYS}) == len(KEYS)
    assert all(Measured.model_fields[metric.key].description == metric.meaning for metric in METRICS)


def test_a_row_is_reduced_from_something_that_is_kept() -> None:
    kept = {"mean": {*STATISTICS, "distances"}, "ratio": {*STATISTICS}, "frechet": {"reference", "coco"}}
    for metric in METRICS:
        assert metric.of in kept.get(metric.reduced, {""}), metric.key


def test_no_two_columns_or_figures_have_one_name() -> None:
    for names in ([m.heading for m in METRICS], [m.label for m in METRICS], [m.title for m in METRICS]):
        given = [name for name in names if name]
        assert len({*given}) == len(given)


def test_the_floor_has_what_can_be_said_of_a_model_against_itself() -> None:
    assert [m.key for m in METRICS if m.floor == "null"] == [
        "straightness", "distance_to_own_teacher", "seconds_per_image", "images_per_second",
    ]  # fmt: skip
    assert all(metric.title for metric in METRICS if metric.floor == "line"), "a line is drawn in a figure"
