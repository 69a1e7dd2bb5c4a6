"""Every stage can be deployed and run alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import yaml
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint

from flows.connection import connected
from flows.stage_flows import STAGE_FLOWS, pairs, world
from flows.stages import STAGES
from infra.artifact import Artifact
from infra.recipe import World
from infra.store import Store
from tests.flows import small_stages

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = {one["name"]: one for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}


def test_every_stage_has_a_flow_and_a_deployment() -> None:
    assert STAGE_FLOWS.keys() == STAGES.keys()
    assert DEPLOYMENTS.keys() == STAGES.keys() | {"instaflow", "miniature"}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_an_entry_point_is_a_flow_with_a_form(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    flow: Flow[..., object] = load_flow_from_entrypoint(DEPLOYMENTS[name]["entrypoint"])
    assert flow.name == name
    form = flow.parameters.properties
    assert {"store"} < form.keys() and flow.description


def test_parameters_are_validated_from_json() -> None:
    parameters = {
        "config": {"steps": 3, "guidance": 5, "part": "distill"},
        "inputs": {"teacher": "mini"},
        "store": "s",
    }
    assert pairs.validate_parameters(parameters)["config"].steps == 3
    with pytest.raises(Exception, match="stepz"):
        pairs.validate_parameters(parameters | {"config": {"stepz": 3}})


@pytest.mark.server
def test_one_stage_flow_runs_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(small_stages.__file__).parent))
    monkeypatch.setitem(STAGES, "world", replace(STAGES["world"], function="small_stages:work"))
    with connected() as url:
        assert httpx.post(f"{url}/flow_runs/count").status_code == 401, "the password is asked for"
        uri = world(World(val_images=7), {}, str(tmp_path / "store"))
        state = world(World(val_images=7), {}, str(tmp_path / "store"), return_state=True)
    assert isinstance(uri, str)
    assert Artifact.find(Store.open(tmp_path), uri).manifest.config["val_images"] == 7
    assert state.name == "Cached"
