"""Each algorithm's chain as a flow: its form, and what it gives back."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.algorithms import algorithms, find_algorithm
from flows.pipeline import PIPELINES
from flows.recipes import load_recipe, parse_recipe
from flows.run.selection import Choice
from flows.server.connection import connected
from infra.artifact import Artifact
from infra.errors import UserError
from infra.store import open_store
from infra.upkeep.runs import list_runs
from tasks.stages import STAGES
from tests.flows import small_stages


def test_every_algorithm_is_a_flow_of_its_name() -> None:
    assert [*PIPELINES] == algorithms()
    assert {name: made.name for name, made in PIPELINES.items()} == {name: name for name in PIPELINES}


@pytest.mark.parametrize("name", algorithms())
def test_its_form_has_the_sections_of_its_recipe(name: str) -> None:
    form, recipe = PIPELINES[name].parameters, find_algorithm(name, "here").recipe
    assert [*form.properties] == ["recipe", "store", "choice"] and form.required == ["recipe", "store"]
    assert {*form.definitions[recipe.__name__]["properties"]} == {*recipe.model_fields}
    assert find_algorithm(name, "here").does in (PIPELINES[name].description or "")


def test_parameters_are_validated_from_json() -> None:
    recipe = {"name": "x", "pairs": {"steps": 3}}
    found = PIPELINES["instaflow"].validate_parameters({"recipe": recipe, "store": "s", "choice": {"only": ["world"]}})
    assert found["recipe"] == parse_recipe(recipe, "test") and found["choice"] == Choice(only=("world",))
    with pytest.raises(Exception, match="pairs"):
        PIPELINES["miniature"].validate_parameters({"recipe": recipe, "store": "s"})


@pytest.mark.slow
@pytest.mark.server
def test_a_run_gives_back_its_last_artifact(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, stage in STAGES.items():
        monkeypatch.setitem(STAGES, name, small_stages.small(stage))
    recipe, store = load_recipe("tiny", ["seed=3"]), open_store(tmp_path / "store")
    with connected():
        assert PIPELINES["instaflow"](recipe, store.url, Choice(until=("world",))) is None, "the report is left out"
        with pytest.raises(UserError, match="/absent: no such file or folder"):
            PIPELINES["instaflow"](load_recipe("tiny", ["teacher.path=/absent"]), store.url)
        assert len(list_runs(store)) == 1, "nothing begins without its files"
        trained = load_recipe("tiny", ["train_teacher={steps: 5, warmup_steps: 0}", "train_clip.steps=7"])
        clip = Artifact.find(store, PIPELINES["miniature"](trained, store.url) or "")
        assert (clip.stage, clip.manifest.config["steps"]) == ("clip", 7)
        report = Artifact.find(store, PIPELINES["instaflow"](recipe, store.url) or "")
    assert report.stage == "report"
    last = list_runs(store)[-1]
    assert [one.state for one in last.stages if one.stage == "world"] == ["cached"]
    prompts = next(one.artifact for one in last.stages if one.stage == "prompts")
    assert Artifact.find(store, prompts).manifest.config["seed"] == 3, "the recipe's seed is added to its sections'"
