"""A run whose engine is gone is ended and started again; one that lives is let alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Failed, Running, State

from flows.deploy import rerunning
from flows.deploy.rerunning import rerun
from infra.errors import UserError

pytestmark = pytest.mark.server


@flow
def made() -> None: ...


def _run(api: SyncPrefectClient, name: str, state: State[None]) -> FlowRun:
    deployment = api.create_deployment(api.create_flow(made), "one")
    run = api.create_flow_run_from_deployment(deployment, name=name)
    api.set_flow_run_state(run.id, state, force=True)
    return run


def test_a_silent_one_is_started_again(api: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run(api, "zombie", Running())
    with pytest.raises(UserError, match=r"run zombie: is Running and gave a sign of life .* ago\. Cancel it first"):
        rerun("zombie")
    monkeypatch.setattr(rerunning, "silence", lambda _: timedelta())
    assert rerun("zombie") == str(run.id)
    assert api.read_flow_run(run.id).state_name == "AwaitingRetry"
    with pytest.raises(UserError, match="run zombie: is AwaitingRetry, waiting for a worker"):
        rerun("zombie")


def test_one_that_has_ended_is_started_again(api: SyncPrefectClient) -> None:
    run = _run(api, "failed", Failed())
    assert rerun(str(run.id)) == str(run.id)
    assert api.read_flow_run(run.id).state_name == "AwaitingRetry"


def test_a_cancelled_one_is_started_again_when_its_worker_has_let_go_of_it(
    api: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerunning, "SETTLED", timedelta(seconds=2))
    run = _run(api, "cancelled", Cancelled())
    rerun(str(run.id))
    *_, cancelled, again = sorted(api.read_flow_run_states(run.id), key=lambda state: state.timestamp)
    assert (cancelled.name, again.name) == ("Cancelled", "AwaitingRetry")
    assert again.timestamp - cancelled.timestamp >= timedelta(seconds=2)


def test_one_that_no_worker_can_start_is_ended(api: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerunning, "silence", lambda _: timedelta())
    run = api.create_flow_run(made, name="by-hand", state=Running())
    with pytest.raises(UserError, match="run by-hand: was started by hand.* Give the same command again"):
        rerun("by-hand")
    assert api.read_flow_run(run.id).state_name == "Crashed"


@pytest.mark.parametrize("name", ["nobody", "00000000-0000-0000-0000-000000000000"])
@pytest.mark.usefixtures("api")
def test_an_unknown_one_is_told(name: str) -> None:
    with pytest.raises(UserError, match=f"run {name}: the server knows none of this id or name"):
        rerun(name)
