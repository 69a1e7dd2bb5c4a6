"""Runs of small stages in this process: all of `instaflow run` but Prefect."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.algorithms.instaflow import Recipe
from flows.recipes import chain_of, parse_recipe
from flows.run import opened, sources
from flows.run.planner import Planned, plan
from flows.run.runner import Handle, recorded
from flows.run.selection import Choice
from infra.artifact import Artifact
from infra.recipe import Section, apply_overrides
from infra.store import Store
from tasks.progress import Progress, silent
from tasks.sections import Performance
from tasks.stage import run_stage
from tasks.stages import Stage, stage_of
from tests.flows.small_stages import small

RECIPE: Recipe = parse_recipe({"name": "test"}, "test")
CHAIN = chain_of(RECIPE)


class Kitchen:
    """Stands in for the Prefect flows: does small stages, as `stage` has them, and notes which."""

    def __init__(self, store: Store) -> None:
        self.store, self.done = store, list[str]()
        self.stage: Callable[[Stage], Stage] = small
        self.progress: Progress = silent

    def flow(self, *, config: Section, inputs: Mapping[str, str], name: str, **_: object) -> State:
        """What the flow of every stage is here."""
        stage = self.stage(stage_of(name))
        taken = {
            role: sources.open_input(self.store, stage.inputs.get(role, "model"), uri) for role, uri in inputs.items()
        }
        cached = opened.cached(stage, config, taken, self.store)
        if cached is not None:
            return Completed(name="Cached", data=cached.uri)
        self.done.append(name)
        made = run_stage(stage, config, taken, self.store, Performance(), self.progress)
        return Completed(data=opened.remember(made).uri)

    def run(self, recipe: Recipe = RECIPE, **choice: tuple[str, ...]) -> list[str]:
        """The stages that a run did."""
        self.done = []
        self.handles(recipe, **choice)
        return self.done

    def handles(self, recipe: Recipe = RECIPE, **choice: tuple[str, ...]) -> dict[str, Handle]:
        """What a run has of every stage."""
        chain = chain_of(recipe)
        with recorded(chain, self.store, Choice(**choice)) as do:
            return chain.replay(do)

    def plan(self, *overrides: str, recipe: Recipe = RECIPE) -> dict[str, Planned]:
        """What a run would do, by stage id."""
        changed = apply_overrides(recipe, overrides)
        return {line.id: line for line in plan(chain_of(changed), self.store)}

    def artifact(self, stage_id: str) -> Artifact:
        """What the last run made of a stage."""
        return Artifact.find(self.store, self.plan()[stage_id].artifact or "")
