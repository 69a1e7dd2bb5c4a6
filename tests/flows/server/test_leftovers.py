"""What a killed engine left RUNNING is ended."""

from __future__ import annotations

from uuid import UUID

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.states import Pending, Running

from flows.server.connection import connected
from flows.server.leftovers import end_leftovers


@pytest.mark.server
def test_task_runs_and_stages_in_the_process_are_ended_and_what_has_ended_stays() -> None:
    @task
    def work() -> None: ...

    @flow
    def pipeline() -> None: ...

    with connected(), get_client(sync_client=True) as client:

        def left(parent: UUID | None = None) -> UUID:
            return client.create_flow_run(pipeline, state=Running(), parent_task_run_id=parent).id

        run = left()
        shown = client.create_task_run(work, run, dynamic_key="0", state=Running())
        stage = left(parent=shown.id)
        waiting = client.create_task_run(work, stage, dynamic_key="0", state=Pending())
        other = left()

        end_leftovers(client, run)

        assert client.read_flow_run(stage).state_name == "Crashed"
        of_them = FlowRunFilter(id=FlowRunFilterId(any_=[run, stage]))
        tasks = {one.id: one.state_name for one in client.read_task_runs(flow_run_filter=of_them)}
        assert tasks == {shown.id: "Crashed", waiting.id: "Crashed"}
        assert client.read_flow_run(run).state_name == client.read_flow_run(other).state_name == "Running"
