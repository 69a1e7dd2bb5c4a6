"""The whole chain as one Prefect flow. It reads like the paper's algorithm: see flows/algorithm.py."""

from prefect import flow

from flows import algorithm
from flows.runner import recorded
from infra.recipe import Recipe
from infra.store import Store


@flow(name="instaflow", flow_run_name="{recipe.name}", persist_result=False)
def instaflow(recipe: Recipe, store: str) -> str:
    """Teacher pairs, reflow, distillation, evaluation, report. Returns the URI of the report's artifact."""
    with recorded(recipe.seeded(), Store.open(store)) as do:
        return algorithm.instaflow(do.recipe, do).uri


@flow(name="miniature", flow_run_name="{recipe.name}", persist_result=False)
def miniature(recipe: Recipe, store: str) -> tuple[str, str]:
    """Train the miniature teacher and CLIP alone. Returns the URIs of the two artifacts."""
    with recorded(recipe.seeded(), Store.open(store)) as do:
        _, teacher, clip = algorithm.materials(do.recipe, do)
        return teacher.uri, clip.uri
