"""What is registered, and that a worker finds it by name, wherever it was started."""

from __future__ import annotations

import pytest
from prefect.flows import load_flow_from_entrypoint

from flows.algorithms import algorithms
from flows.deploy.deployments import COMMAND, Deployment, deployments, job_variables
from flows.deploy.pools import Pools, read_pools
from flows.server.arrival import RELEASE
from infra.release import release
from tasks.stages import STAGES

BUNDLED = [*deployments(read_pools())]


def test_every_stage_is_on_every_pool_and_every_pipeline_on_the_default_one() -> None:
    expected = {f"{name}/{name}": "cpu" for name in algorithms()}
    expected |= {f"{stage}/{pool}": pool for stage in (*STAGES, "rehearsal") for pool in ("cpu", "gpu")}
    assert {one.full_name: one.pool for one in BUNDLED} == expected
    assert {tag for one in BUNDLED for tag in one.tags} == {"instaflow", "pipeline", "stage"}


@pytest.mark.parametrize("one", [one for one in BUNDLED if one.pool == "cpu"], ids=lambda one: one.full_name)
def test_an_entry_point_is_a_flow_with_a_form(one: Deployment, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        flow = load_flow_from_entrypoint(one.entrypoint)
    assert flow.name == one.flow.name and flow.description
    assert "store" in flow.parameters.properties


def test_the_jobs_are_rescheduled_and_know_what_was_deployed() -> None:
    told = {"env": {"MINE": "1", "DO_NOT_TRACK": "0"}, "image": "ours"}
    pools = Pools.model_validate({"default": "a", "pools": {"a": {"job_variables": told}}, "heartbeat_s": 40})
    variables = job_variables(pools, "a")
    assert (variables["command"], variables["image"]) == (COMMAND, "ours")
    env = variables["env"]
    assert isinstance(env, dict) and env["MINE"] == "1" and env["DO_NOT_TRACK"] == "1", "nobody is tracked"
    assert env["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"
    assert (env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"], env[RELEASE]) == ("40", release())
