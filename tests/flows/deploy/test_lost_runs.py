"""The rule by which the server takes a run for lost."""

from __future__ import annotations

from datetime import timedelta

from flows.deploy.lost_runs import LOST, automations
from flows.deploy.pools import Pools


def test_only_runs_that_a_worker_can_start_again_are_lost() -> None:
    pools = Pools.model_validate({"default": "a", "pools": {"a": {}}, "lost_after_s": 45})
    silent, lost = (one.model_dump(mode="json") for one in automations(pools))
    trigger, (action,) = silent["trigger"], silent["actions"]
    assert trigger["within"] == timedelta(seconds=45).total_seconds() and trigger["posture"] == "Proactive"
    assert trigger["match_related"]["prefect.resource.role"] == "deployment"
    assert (trigger["after"], trigger["expect"]) == (["prefect.flow-run.heartbeat"], ["prefect.flow-run.*"])
    assert (action["state"], action["name"], action["force"]) == ("CRASHED", LOST, False), "refused of an ended run"
    assert lost["trigger"]["expect"] == [f"prefect.flow-run.{action['name']}"]
    assert [one["name"] for one in lost["actions"]] == ["AwaitingRetry"]
