"""Every row of the metrics' table can be reduced, and the table as a whole is the schema that dashboards read."""

from __future__ import annotations

from typing import get_args

from tasks.evaluate.compared import SEEN_BY
from tasks.evaluate.measured import Measured
from tasks.evaluate.metrics import METRICS
from tasks.evaluate.statistics import STATISTICS
from tasks.sections import OWN_NETWORKS, Extra

KEYS = [metric.key for metric in METRICS]


def test_the_records_fields_are_those_of_the_cell_and_the_rows_keys_in_their_order() -> None:
    fields = [key for metric in METRICS for key in (metric.key, metric.interval_key)]
    assert [*Measured.model_fields] == ["model", "steps", "guidance", "solver", "num_images", *fields]
    assert len({*KEYS}) == len(KEYS)
    assert all(Measured.model_fields[metric.key].description == metric.meaning for metric in METRICS)


def test_a_row_is_reduced_from_something_that_is_kept() -> None:
    values = {*STATISTICS, "own_distances", "teacher_distances", "straightness", "latency", "rate"}
    compared = {"reference", *SEEN_BY}
    of_pairs = dict.fromkeys(("frechet", "kernel", "discrepancy", "precision", "recall"), compared)
    kept = {"mean": values, "median": values, "ratio": {*STATISTICS}, **of_pairs}
    for metric in METRICS:
        assert metric.of in kept[metric.reduced], metric.key


def test_every_extra_has_a_row_and_features_that_are_kept() -> None:
    assert {*get_args(Extra)} < {metric.of for metric in METRICS} and {*get_args(Extra)} < SEEN_BY.keys()
    assert {*SEEN_BY.values()} == {"features", *OWN_NETWORKS} and {*SEEN_BY.values()} < STATISTICS.keys()


def test_no_two_columns_or_figures_have_one_name() -> None:
    for names in ([m.label for m in METRICS], [m.title for m in METRICS]):
        given = [name for name in names if name]
        assert len({*given}) == len(given)


def test_a_floor_is_a_line_in_a_figure() -> None:
    floors = [metric for metric in METRICS if metric.has_floor]
    assert [metric.key for metric in floors] == ["frechet_distance", "frechet_distance_coco"]
    assert all(metric.title for metric in floors)
