"""`make demo`: wall time of the whole chain on the miniature world."""

from __future__ import annotations

import tempfile
from datetime import datetime

from infra.environment import environment
from infra.store import open_store
from infra.upkeep.runs import RunRecord, list_runs
from tests.benchmarks.command import timed_instaflow
from tests.benchmarks.row import Options, Row, at_most, duration, not_measured

NAME, LIMIT_S, RECIPE = "make demo after set-up", 480.0, "mini"


def measure(options: Options) -> list[Row]:
    """From the record of the last run that made every stage, or with `--demo` from a new one in an empty store."""
    if options.demo:
        with tempfile.TemporaryDirectory(prefix="instaflow-bench-") as folder:
            seconds = timed_instaflow(["run", RECIPE, "--store", f"{folder}/store", "--out", folder])
        return [at_most(NAME, seconds, LIMIT_S, "now, in an empty store")]
    full = [run for run in list_runs(open_store(options.store)) if _is_full(run)]
    if not full:
        remedy = f"no run in {options.store} that made every stage: run `make demo` with no demo/ there, or say --demo"
        return [not_measured(NAME, f"at most {duration(LIMIT_S)}", remedy)]
    return [at_most(NAME, _seconds(full[-1]), LIMIT_S, _described(full[-1]))]


def _is_full(run: RunRecord) -> bool:
    made = run.state == "done" and run.finished_at is not None
    return made and run.recipe == RECIPE and bool(run.stages) and all(stage.state == "done" for stage in run.stages)


def _seconds(run: RunRecord) -> float:
    assert run.finished_at is not None
    return (datetime.fromisoformat(run.finished_at) - datetime.fromisoformat(run.started_at)).total_seconds()


def _described(run: RunRecord) -> str:
    longest = sorted(run.stages, key=lambda stage: stage.seconds, reverse=True)[:3]
    stages = ", ".join(f"{stage.stage} {duration(stage.seconds)}" for stage in longest)
    same = run.environment.get("host") == environment()["host"]
    where = "" if same else f" ON ANOTHER MACHINE ({run.environment.get('platform', 'unknown')})"
    return f"run of {run.started_at[:16]}{where}, without starting Python and the server; longest: {stages}"
