"""Each algorithm's chain as a flow: its form, and what it gives back."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import FlowRunSort

from flows.algorithms import algorithms, find_algorithm
from flows.pipeline import PIPELINES
from flows.recipes import load_recipe
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
def test_its_form_is_short_enough_to_type(name: str) -> None:
    form, algorithm = PIPELINES[name].parameters, find_algorithm(name, "here")
    assert [*form.properties] == ["store", "recipe", "overrides", "choice"] and form.required == ["store"]
    assert all(one.get("description") for one in form.properties.values() if "$ref" not in one)
    assert form.properties["recipe"]["default"] == algorithm.usual
    assert isinstance(load_recipe(algorithm.usual), algorithm.recipe)
    assert algorithm.does in (PIPELINES[name].description or "")


def test_parameters_are_validated_from_json() -> None:
    told = {"store": "s", "overrides": ["pairs.steps=3"], "choice": {"only": ["world"]}}
    found = PIPELINES["instaflow"].validate_parameters(told)
    assert found == told | {"recipe": "mini", "choice": Choice(only=("world",))}


@pytest.mark.slow
@pytest.mark.server
def test_a_run_gives_back_its_last_artifact(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, stage in STAGES.items():
        monkeypatch.setitem(STAGES, name, small_stages.small(stage))
    store = open_store(tmp_path / "store")
    with connected():
        run = PIPELINES["instaflow"]
        assert run(store.url, "tiny", ["seed=3"], Choice(until=("world",))) is None, "the report is left out"
        with pytest.raises(UserError, match="/absent: no such file or folder"):
            run(store.url, "tiny", ["teacher.path=/absent"])
        with pytest.raises(UserError, match="recipe mini-1k: is of the algorithm evaluation, which has other sections"):
            run(store.url, "mini-1k")
        assert len(list_runs(store)) == 1, "nothing begins without its files"
        trained = ["train_teacher={steps: 5, warmup_steps: 0}", "train_clip.steps=7"]
        clip = Artifact.find(store, PIPELINES["miniature"](store.url, "tiny", trained) or "")
        assert (clip.stage, clip.manifest.config["steps"]) == ("clip", 7)
        report = Artifact.find(store, run(store.url, "tiny", ["seed=3"]) or "")
        _require_names_and_tags()
    assert report.stage == "report"
    last = list_runs(store)[-1]
    assert [one.state for one in last.stages if one.stage == "world"] == ["cached"]
    prompts = next(one.artifact for one in last.stages if one.stage == "prompts")
    assert Artifact.find(store, prompts).manifest.config["seed"] == 3, "the recipe's seed is added to its sections'"


def _require_names_and_tags() -> None:
    """The last runs can be found by what they are of."""
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=30)
    runs = {run.name: run.tags for run in reversed(found)}
    assert "recipe:tiny" in runs["tiny of mini"]
    told = runs["pairs-1"]
    assert {"recipe:tiny", "stage:pairs-1"} <= {*told} and any(tag.startswith("fingerprint:") for tag in told)
