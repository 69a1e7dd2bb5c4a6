"""What an engine that was killed leaves in Prefect's records: task runs and stages that are RUNNING for ever."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.states import Crashed

_UNFINISHED = [StateType.RUNNING, StateType.PENDING]


def end_leftovers(client: SyncPrefectClient, flow_run: UUID) -> None:
    """Take the task runs and the stages in the process of a flow run, whose engine is gone, for crashed.

    A stage that has a deployment has an engine of its own.
    """
    gone: State[Any] = Crashed(message="The engine of the run is gone.")
    for child in client.read_flow_runs(
        flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run]))
    ):
        if child.deployment_id is None and child.state is not None and not child.state.is_final():
            end_leftovers(client, child.id)
            client.set_flow_run_state(child.id, gone, force=True)
    unfinished = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=_UNFINISHED)))
    of_it = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))
    for task in client.read_task_runs(flow_run_filter=of_it, task_run_filter=unfinished):
        client.set_task_run_state(task.id, gone, force=True)
