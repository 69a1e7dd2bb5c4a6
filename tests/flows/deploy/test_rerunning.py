"""A run whose engine is gone is ended and started again; one that lives is let alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Failed, Running, State

from flows.deploy import rerunning
from flows.deploy.rerunning import rerun
from flows.server.connection import connected
from infra.errors import UserError

pytestmark = pytest.mark.server


@flow
def made() -> None: ...


@pytest.fixture(scope="module")
def client(prefect_home: object) -> Iterator[SyncPrefectClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(prefect_home))
        with connected(), get_client(sync_client=True) as client:
            yield client


def _run(client: SyncPrefectClient, name: str, state: State[None]) -> FlowRun:
    deployment = client.create_deployment(client.create_flow(made), "one")
    run = client.create_flow_run_from_deployment(deployment, name=name)
    client.set_flow_run_state(run.id, state, force=True)
    return run


def test_a_silent_one_is_started_again(client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run(client, "zombie", Running())
    with pytest.raises(UserError, match=r"run zombie: is Running and gave a sign of life .* ago\. Cancel it first"):
        rerun("zombie")
    monkeypatch.setattr(rerunning, "silence", lambda client: timedelta())
    assert rerun("zombie") == str(run.id)
    assert client.read_flow_run(run.id).state_name == "AwaitingRetry"
    with pytest.raises(UserError, match="run zombie: is AwaitingRetry, waiting for a worker"):
        rerun("zombie")


def test_one_that_has_ended_is_started_again(client: SyncPrefectClient) -> None:
    run = _run(client, "failed", Failed())
    assert rerun(str(run.id)) == str(run.id)
    assert client.read_flow_run(run.id).state_name == "AwaitingRetry"


def test_a_cancelled_one_is_started_again_when_its_worker_has_let_go_of_it(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerunning, "SETTLED", timedelta(seconds=2))
    run = _run(client, "cancelled", Cancelled())
    rerun(str(run.id))
    *_, cancelled, again = sorted(client.read_flow_run_states(run.id), key=lambda state: state.timestamp)
    assert (cancelled.name, again.name) == ("Cancelled", "AwaitingRetry")
    assert again.timestamp - cancelled.timestamp >= timedelta(seconds=2)


def test_one_that_no_worker_can_start_is_ended(client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerunning, "silence", lambda client: timedelta())
    run = client.create_flow_run(made, name="by-hand", state=Running())
    with pytest.raises(UserError, match="run by-hand: was started by hand.* Give the same command again"):
        rerun("by-hand")
    assert client.read_flow_run(run.id).state_name == "Crashed"


@pytest.mark.parametrize("name", ["nobody", "00000000-0000-0000-0000-000000000000"])
@pytest.mark.usefixtures("client")
def test_an_unknown_one_is_told(name: str) -> None:
    with pytest.raises(UserError, match=f"run {name}: the server knows none of this id or name"):
        rerun(name)
