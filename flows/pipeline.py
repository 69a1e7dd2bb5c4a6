"""Each algorithm's whole chain as a Prefect flow of its name: `flows.pipeline.instaflow`.

What is done reads like the paper in flows/algorithms; here it is told to Prefect.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import Flow, flow, tags
from prefect.runtime import flow_run

from flows.algorithms import algorithms, find_algorithm
from flows.algorithms.algorithm import Algorithm
from flows.algorithms.chain import Chain
from flows.recipes import chain_of, load_recipe
from flows.run import opened
from flows.run.form import STORE, Public
from flows.run.preflight import pictures_looked_at, preflight
from flows.run.rehearsal_flow import rehearse
from flows.run.runner import LeftOut, Runner, recorded
from flows.run.selection import EVERYTHING, Choice
from flows.server.arrival import arrive
from flows.server.cards import lineage
from flows.server.mirror import mirrored
from flows.server.tagging import recipe_tags, tag_this_run
from infra.errors import UserError
from infra.store import open_store
from tasks.sections import ModelSource, Recipe

_FORM = f"""

Args:
    store: {STORE}
    recipe: a bundled recipe's name, or the path of a YAML file that the worker can read
    overrides: fields of the recipe that are set, each like pairs.steps=10
    choice: which stages are run; all of them, if nothing is said
"""
"""Prefect's pages read there what is said of each parameter."""


def pipeline_flow(algorithm: Algorithm) -> Flow[..., str | None]:
    """The algorithm as a flow of a recipe's name; the URI of its last artifact, None when the run leaves that out."""

    def body(
        store: Public,
        recipe: str = algorithm.usual,
        overrides: list[Public] = [],  # noqa: B006  # Prefect's form wants a list
        choice: Choice = EVERYTHING,
    ) -> str | None:
        arrive(store)
        chain, where = chain_of(_read(algorithm, recipe, overrides), algorithm.name), open_store(store)
        told = recipe_tags(chain.recipe.name)
        tag_this_run(told)
        preflight(chain)  # again for who comes without the command line
        with opened.remembering():
            rehearse(chain, where, choice)
            with (
                tags(*told),
                pictures_looked_at(chain) as alarm,
                recorded(chain, where, choice, alarm, overrides) as do,
            ):
                with _lineage_shown(chain, do):
                    *_, last = chain.replay(do).values()
                return None if isinstance(last, LeftOut) else last.uri

    body.__name__ = body.__qualname__ = algorithm.name
    body.__doc__ = f"{algorithm.does}.{_FORM}"
    return flow(name=algorithm.name, flow_run_name=_recipe_and_teacher, persist_result=False)(body)


@contextmanager
def _lineage_shown(chain: Chain, do: Runner) -> Iterator[None]:
    """When the block ends, however, Prefect's page of the run shows what was made from what, and why."""
    try:
        yield
    finally:
        record = do.recording.record
        with mirrored("lineage", do.recording.behalf) as mirror:
            told = f"What was made from what in the run {record.run_id} of {record.recipe}, and why"
            mirror.show(lambda: lineage(chain, record, do.made), told)


def _read(algorithm: Algorithm, name: str, overrides: list[str]) -> Recipe:
    recipe = load_recipe(name, overrides).seeded()
    if not isinstance(recipe, algorithm.recipe):
        raise UserError(
            f"recipe {name}: is of the algorithm {recipe.algorithm}, which has other sections than {algorithm.name}."
            f" Run {recipe.algorithm}, or name another recipe: {algorithm.usual}"
        )
    return recipe


def _recipe_and_teacher() -> str:
    """What a run is called: the recipe's name, and of which teacher."""
    told: dict[str, Any] = flow_run.parameters
    try:
        recipe = load_recipe(told["recipe"], told["overrides"])
    except UserError:  # the run says why
        return str(told["recipe"])
    teachers = (section.path for _, section in recipe if isinstance(section, ModelSource))
    return f"{recipe.name} of {next(teachers, 'its own')}"


PIPELINES = {name: pipeline_flow(find_algorithm(name, "flows/algorithms")) for name in algorithms()}
globals().update(PIPELINES)
