"""A second run of the same recipe: everything is cached."""

from __future__ import annotations

from flows.recipes import chain_of, load_recipe
from flows.run.planner import plan
from infra.errors import UserError
from infra.store import open_store
from tests.benchmarks.command import timed_instaflow
from tests.benchmarks.row import Options, Row, at_most, duration, not_measured

NAME, LIMIT_S, RECIPE = "cached second run", 10.0, "mini"


def measure(options: Options) -> list[Row]:
    """Run it again, in the store of `make demo`."""
    target = f"at most {duration(LIMIT_S)}"
    try:
        stages = plan(chain_of(load_recipe(RECIPE).seeded()), open_store(options.store))
    except UserError as error:
        return [not_measured(NAME, target, str(error))]
    missing = [stage.id for stage in stages if stage.state != "cached"]
    if missing:
        return [not_measured(NAME, target, f"not cached: {', '.join(missing)}; run `make demo` first")]
    seconds = timed_instaflow(["run", RECIPE, "--store", str(options.store)])
    return [at_most(NAME, seconds, LIMIT_S, f"{len(stages)} stages, Python and the Prefect server started")]
