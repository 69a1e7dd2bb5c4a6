"""The whole chain as one Prefect flow. It reads like the paper's algorithm: see flows/algorithm.py."""

from prefect import flow

from flows import algorithm
from flows.planner import plan
from flows.runner import LeftOut, recorded
from flows.selection import EVERYTHING, Choice
from infra.recipe import Recipe
from infra.store import Store


@flow(name="instaflow", flow_run_name="{recipe.name}", persist_result=False)
def instaflow(recipe: Recipe, store: str, choice: Choice = EVERYTHING) -> str | None:
    """Teacher pairs, reflow, distillation, evaluation, report; `choice` says which stages are run.

    Returns the URI of the report's artifact, None when the run leaves it out.
    """
    plan(recipe.seeded(), Store.open(store))  # raises for files that are missing, before hours of work
    with recorded(recipe.seeded(), Store.open(store), choice) as do:
        report = algorithm.instaflow(do.recipe, do)
        return None if isinstance(report, LeftOut) else report.uri


@flow(name="miniature", flow_run_name="{recipe.name}", persist_result=False)
def miniature(recipe: Recipe, store: str) -> tuple[str, str]:
    """Train the miniature teacher and CLIP alone. Returns the URIs of the two artifacts."""
    with recorded(recipe.seeded(), Store.open(store)) as do:
        _, teacher, clip = algorithm.materials(do.recipe, do)
        assert not isinstance(teacher, LeftOut) and not isinstance(clip, LeftOut), "nothing was left out"
        return teacher.uri, clip.uri
