"""What the method promises, from the evaluation of the last `make demo`."""

from __future__ import annotations

from pathlib import Path

from flows.results import last_artifact
from infra.errors import UserError
from infra.store import Store
from tasks.measured import Claim, Metrics, claims, read_metrics
from tests.benchmarks.row import NOT_MEASURED, Options, Row

RECIPE = "mini"


def measure(options: Options) -> list[Row]:
    """One row per claim of the report; none of them is left out when there is nothing to read."""
    try:
        metrics = read_metrics(_metrics_file(options.store))
    except UserError as error:
        remedy = f"run `make demo` first: {error}"
        return [Row(claim.title, NOT_MEASURED, claim.bound, None, remedy) for claim in claims(())]
    return [_row(claim, metrics) for claim in claims(metrics.records)]


def _metrics_file(store: Path) -> Path:
    return last_artifact(Store.open(store), RECIPE, "evaluate").fetch("metrics.json")


def _row(claim: Claim, metrics: Metrics) -> Row:
    images, machine = metrics.protocol.get("num_images", "?"), metrics.protocol.get("machine", "unknown machine")
    return Row(
        claim.title,
        claim.headline,
        claim.bound,
        claim.holds,
        f"{claim.detail}; {images} pictures, {machine}",
    )
