"""Each algorithm's whole chain as a Prefect flow of its name: `flows/pipeline.py:instaflow`.

What is done reads like the paper in flows/algorithms; here it is told to Prefect.
"""

from inspect import Signature

from prefect import Flow, flow

from flows.algorithms import algorithms, find_algorithm
from flows.algorithms.algorithm import Algorithm
from flows.recipes import chain_of
from flows.run import opened
from flows.run.preflight import pictures_looked_at, preflight
from flows.run.rehearsal import rehearse
from flows.run.runner import LeftOut, recorded
from flows.run.selection import EVERYTHING, Choice
from infra.store import open_store
from tasks.sections import Recipe


def pipeline_flow(algorithm: Algorithm) -> Flow[..., str | None]:
    """The algorithm as a flow of a recipe: the URI of its last artifact, None when the run leaves that out."""

    def body(recipe: Recipe, store: str, choice: Choice = EVERYTHING) -> str | None:
        chain, where = chain_of(recipe.seeded(), algorithm.name), open_store(store)
        preflight(chain)  # again for who comes without the command line
        with opened.remembering():
            rehearse(chain, where, choice)
            with pictures_looked_at(chain) as alarm, recorded(chain, where, choice, alarm) as do:
                *_, last = chain.replay(do).values()
                return None if isinstance(last, LeftOut) else last.uri

    body.__name__ = body.__qualname__ = algorithm.name
    body.__doc__ = f"{algorithm.does}; `choice` says which stages are run."
    body.__annotations__["recipe"] = algorithm.recipe
    parameters = [
        one.replace(annotation=algorithm.recipe) if one.name == "recipe" else one
        for one in Signature.from_callable(body).parameters.values()
    ]
    body.__signature__ = Signature(parameters, return_annotation=str | None)  # type: ignore[attr-defined]
    return flow(name=algorithm.name, flow_run_name="{recipe.name}", persist_result=False)(body)


PIPELINES = {name: pipeline_flow(find_algorithm(name, "flows/algorithms")) for name in algorithms()}
globals().update(PIPELINES)
