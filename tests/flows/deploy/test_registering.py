"""A server is told of pools, deployments and lost runs; told twice, nothing changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client

from flows.deploy import lost_runs, registering
from flows.deploy.deployments import deployments
from flows.deploy.pools import Pools
from flows.deploy.registering import register
from flows.server.connection import connected
from infra.errors import UserError

ALWAYS_NEW = {"updated", "last_polled", "status", "version_id"}


def _pools(**told: Any) -> Pools:
    return Pools.model_validate({"default": "one", "pools": {"one": {"concurrency": 2}}} | told)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two deployments stand for all: each takes the server a while."""
    monkeypatch.setattr(registering, "deployments", lambda pools: [*deployments(pools)][1:4:2])


@pytest.mark.server
@pytest.mark.usefixtures("two")
def test_what_is_told_twice_changes_nothing_and_what_is_told_otherwise_does(tmp_path: Path) -> None:
    with connected(), get_client(sync_client=True) as client:
        assert register(_pools()) == ["instaflow/instaflow", "world/one"]
        first = _known(client)
        register(_pools())
        assert _known(client) == first
        deployed = first["instaflow/instaflow"]
        assert (deployed["entrypoint"], deployed["pull_steps"]) == ("flows.pipeline.instaflow", [])
        assert (deployed["work_pool_name"], deployed["schedules"], deployed["paused"]) == ("one", [], False)
        assert deployed["enforce_parameter_schema"] and first["one"]["concurrency_limit"] == 2

        register(_pools(lost_after_s=45, pools={"one": {"job_variables": {"working_dir": "/"}}}))
        then = _known(client)
        assert then["one"]["concurrency_limit"] is None
        assert then["world/one"]["job_variables"]["working_dir"] == "/"
        assert then["world/one"]["id"] == first["world/one"]["id"]
        assert then[lost_runs.SILENT_RUNS]["trigger"]["within"] == 45
        with pytest.raises(UserError, match="pool one: there is one of type process, wanted is docker. Call it other"):
            register(_pools(pools={"one": {"type": "docker"}}))

        template, told = (
            tmp_path / "k.json",
            {"job_configuration": {"image": "{{ image }}"}, "variables": {"properties": {"image": {}}}},
        )
        pools = _pools(default="k8s", pools={"k8s": {"type": "kubernetes", "base_job_template": str(template)}})
        for text, wrong in (
            ("{", r"/k\.json: no valid JSON"),
            ('{"variables": {"a": 1}}', "pool k8s: the server does not take it: .*must contain"),
        ):
            template.write_text(text)
            with pytest.raises(UserError, match=wrong):
                register(pools)
        template.write_text(json.dumps(told))
        register(pools)
        assert client.read_work_pool("k8s").base_job_template == told


def _known(client: SyncPrefectClient) -> dict[str, dict[str, Any]]:
    """What the server knows of ours, by name."""
    flows = {flow.id: flow.name for flow in client.read_flows(limit=200)}
    found: dict[str, Any] = {f"{flows[one.flow_id]}/{one.name}": one for one in client.read_deployments(limit=200)}
    found |= {one.name: one for one in client.read_work_pools()}
    names = (lost_runs.SILENT_RUNS, lost_runs.LOST_RUNS)
    found |= {one.name: one for name in names for one in client.read_automations_by_name(name)}
    return {name: one.model_dump(mode="json", exclude=ALWAYS_NEW) for name, one in found.items()}
