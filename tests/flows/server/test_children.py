"""The children of a flow run, on a real server: found again by tags, cancelled, not mixed up with others'."""

from __future__ import annotations

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.states import Cancelling, Running

from flows.server.children import children, is_cancelling, is_over

pytestmark = pytest.mark.server
ONE, OTHER = "world/0000000000000001", "world/0000000000000002"


@pytest.fixture(scope="module")
def server(api: SyncPrefectClient) -> SyncPrefectClient:
    """A server with one deployment."""
    api.create_deployment(api.create_flow_from_name("sent"), name="away")
    return api


def test_children_are_the_flow_runs_own_and_the_artifacts(server: SyncPrefectClient) -> None:
    @flow(name="parent", persist_result=False)
    def parent() -> list[str]:
        with children("sent/away", ONE) as ours, children("sent/away", OTHER) as theirs:
            ours.start("a", {})
            ours.start("b", {})
            theirs.start("c", {})
            taken = ours.all()[0]
            server.set_flow_run_state(taken.id, Running(), force=True)
            ours.cancel()
            ends = {run.name: run.state.name for run in ours.all() if run.state}
            assert not any(map(is_over, theirs.all())), "of another artifact"
            return [f"{name} {ends[name]}" for name in sorted(ends)]

    assert sorted(end.split()[1] for end in parent()) == ["Cancelled", "Cancelling"]
    with get_client(sync_client=True) as client:
        client.read_deployment_by_name("sent/away")

    @flow(name="parent", persist_result=False)
    def another() -> int:
        with children("sent/away", ONE) as ours:
            return len(ours.all())

    assert another() == 0, "of another flow run"


def test_a_flow_run_knows_that_it_is_cancelled(server: SyncPrefectClient) -> None:
    @flow(name="parent", persist_result=False)
    def parent() -> tuple[bool, bool]:
        from prefect.runtime import flow_run

        before = is_cancelling()
        server.set_flow_run_state(flow_run.get_id(), Cancelling(), force=True)
        after = is_cancelling()
        server.set_flow_run_state(flow_run.get_id(), Running(), force=True)
        return before, after

    assert parent() == (False, True)
