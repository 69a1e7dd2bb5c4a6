"""What the method promises, from the evaluation of the last `make demo`."""

from __future__ import annotations

from pathlib import Path

from flows.algorithms.instaflow import CLAIMS
from flows.cli.results import last_artifact
from infra.errors import UserError
from infra.store import open_store
from tasks.evaluate.measured import read_metrics
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
    images, machine = metrics.protocol.get("num_images", "?"), metrics.protocol.get("machine", "unknown machine")
    found = verdicts(CLAIMS, metrics.records)
    return [verdict_row(one.title, one, f"{images} pictures, {machine}") for one in found]


def _metrics_file(store: Path) -> Path:
    return last_artifact(open_store(store), RECIPE, "evaluate").fetch("metrics.json")


def verdict_row(name: str, verdict: Verdict, of: str) -> Row:
    """A claim's row, with what it was measured on."""
    return Row(
        name,
        verdict.headline,
        verdict.bound,
        {"met": True, "missed": False}.get(verdict.outcome or ""),
        f"{'undecided: ' if verdict.outcome == 'undecided' else ''}{verdict.detail}; {of}",
    )
