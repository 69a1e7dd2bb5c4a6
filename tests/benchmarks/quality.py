"""What the method promises, from the evaluation of the last `make demo`."""

from __future__ import annotations

from pathlib import Path

from flows.algorithms.instaflow import CLAIMS
from flows.cli.results import last_artifact
from infra.errors import UserError
from infra.store import open_store
from tasks.evaluate.measured import Metrics, read_metrics
from tasks.evaluate.verdicts import Verdict, verdicts
from tests.benchmarks.row import NOT_MEASURED, Options, Row

RECIPE = "mini"


def measure(options: Options) -> list[Row]:
    """One row per claim of the report; none of them is left out when there is nothing to read."""
    try:
        metrics = read_metrics(_metrics_file(options.store))
    except UserError as error:
        remedy = f"run `make demo` first: {error}"
        return [Row(one.title, NOT_MEASURED, one.bound, None, remedy) for one in verdicts(CLAIMS, ())]
    return [_row(one, metrics) for one in verdicts(CLAIMS, metrics.records)]


def _metrics_file(store: Path) -> Path:
    return last_artifact(open_store(store), RECIPE, "evaluate").fetch("metrics.json")


def _row(verdict: Verdict, metrics: Metrics) -> Row:
    images, machine = metrics.protocol.get("num_images", "?"), metrics.protocol.get("machine", "unknown machine")
    return Row(
        verdict.title,
        verdict.headline,
        verdict.bound,
        {"met": True, "missed": False}.get(verdict.outcome or ""),
        f"{'undecided: ' if verdict.outcome == 'undecided' else ''}{verdict.detail}; {images} pictures, {machine}",
    )
