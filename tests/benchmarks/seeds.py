"""The method's promises over three trainings: with which the numbers of one would have come out otherwise by chance."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy.stats import t

from flows.algorithms.instaflow import CLAIMS
from infra.errors import UserError
from infra.store import open_store
from tasks.claims import Claim, StepwiseClaim
from tasks.evaluate.measured import Measured, read_metrics
from tasks.evaluate.metrics import METRICS
from tasks.evaluate.verdicts import verdicts
from tests.benchmarks.quality import verdict_row
from tests.benchmarks.row import Options, Row, not_measured

RECIPE, SEEDS = "mini", (0, 1, 2)
COMMAND = "instaflow run mini --set seed={0} --set name=mini-seed-{0} --out demo/seed-{0}, for each of 0, 1, 2"
_TIMES = {metric.key for metric in METRICS if metric.unit == "s"}


def measure(options: Options) -> list[Row]:
    """One row for each claim that is of trainings, judged by the mean of three and its interval."""
    claims = [claim for claim in CLAIMS if claim.metric not in _TIMES]
    try:
        trainings = [_records(options, seed) for seed in SEEDS]
    except UserError as error:
        remedy = f"{COMMAND}, first: {error}"
        return [not_measured(_title(claim), "", remedy) for claim in claims]
    merged = [_merged(one) for one in zip(*trainings, strict=True)]
    found = zip(claims, verdicts(claims, merged), strict=True)
    return [verdict_row(_title(claim), one, f"seeds {', '.join(map(str, SEEDS))}") for claim, one in found]


def _title(claim: Claim | StepwiseClaim) -> str:
    return f"over {len(SEEDS)} trainings: {claim.title}"


def _records(options: Options, seed: int) -> tuple[Measured, ...]:
    from flows.cli.results import last_artifact

    found = last_artifact(open_store(options.store), f"{RECIPE}-seed-{seed}", "evaluate")
    return read_metrics(found.fetch("metrics.json")).records


def _merged(records: Sequence[Measured]) -> Measured:
    """The same cell of several trainings: each number's mean, and Student's interval of it."""
    width = float(t.ppf(0.975, len(records) - 1)) / math.sqrt(len(records))
    numbers: dict[str, float] = {}
    for metric in METRICS:
        values = [value for one in records if (value := one.number(metric.key)) is not None]
        if len(values) == len(records):
            numbers[metric.key] = statistics.fmean(values)
            numbers[metric.interval_key] = width * statistics.stdev(values)
    same = {(one.model, one.steps, one.guidance, one.solver) for one in records}
    assert len(same) == 1, "the same recipe"
    first = records[0]
    return Measured(model=first.model, steps=first.steps, guidance=first.guidance, solver=first.solver, **numbers)
