"""A second run of the same recipe: everything is cached; beside what Python and the Prefect server take to start."""

from __future__ import annotations

import subprocess
import sys
import time

from flows.recipes import chain_of, load_recipe
from flows.run.planner import plan
from infra.errors import UserError
from infra.store import open_store
from tests.benchmarks.command import ROOT, timed_instaflow
from tests.benchmarks.row import Options, Row, at_most_times, not_measured, spread

NAME, MOST_TIMES, RECIPE, ROUNDS = "cached second run, of the time to start Python and the server", 2.0, "mini", 3
_START = """
from flows.cli.app import _import_engine
from flows.server.connection import connected
with connected(meanwhile=_import_engine):
    pass
"""


def measure(options: Options) -> list[Row]:
    """Run it again, in the store of `make demo`."""
    target = f"at most {MOST_TIMES:g} x"
    try:
        stages = plan(chain_of(load_recipe(RECIPE).seeded()), open_store(options.store))
    except UserError as error:
        return [not_measured(NAME, target, str(error))]
    missing = [stage.id for stage in stages if stage.state != "cached"]
    if missing:
        return [not_measured(NAME, target, f"not cached: {', '.join(missing)}; run `make demo` first")]
    runs, starts = [], []
    for _ in range(ROUNDS):
        starts.append(_start())
        runs.append(timed_instaflow(["run", RECIPE, "--store", str(options.store)]))
    ratios = [run / start for run, start in zip(runs, starts, strict=True)]
    detail = f"{spread(runs)} of {spread(starts)} s, {len(stages)} stages; median of {ROUNDS} (range), in turns"
    return [at_most_times(NAME, ratios, MOST_TIMES, detail)]


def _start() -> float:
    """Seconds from nothing to a server that answers, and back."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", _START], cwd=ROOT, check=True, capture_output=True)
    return time.monotonic() - started
