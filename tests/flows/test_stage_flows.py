"""Every stage can be deployed and run alone, by the entry points of prefect.yaml."""

from __future__ import annotations

import pytest
import yaml
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint

from flows import stage_flows
from flows.algorithms import algorithms
from flows.run.stage_flow import DOOR, STAGE_FLOWS
from tasks.stages import STAGES
from tests import ROOT

DEPLOYMENTS = {one["name"]: one for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}


def test_every_stage_has_a_flow_and_a_deployment() -> None:
    assert STAGE_FLOWS.keys() == STAGES.keys()
    assert DEPLOYMENTS.keys() == STAGES.keys() | {*algorithms()}
    assert all(getattr(stage_flows, name) is made for name, made in STAGE_FLOWS.items())


def test_the_flows_are_where_they_say_they_are() -> None:
    assert {made.fn.__module__ for made in STAGE_FLOWS.values()} == {stage_flows.__name__} == {DOOR}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_an_entry_point_is_a_flow_with_a_form(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    flow: Flow[..., object] = load_flow_from_entrypoint(DEPLOYMENTS[name]["entrypoint"])
    assert flow.name == name
    form = flow.parameters.properties
    assert {"store"} < form.keys() and flow.description
