"""Starting a run again whose engine is gone: Prefect's own `retry` refuses what is RUNNING, `cancel` waits for ever."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Crashed

from flows.deploy.lost_runs import silence
from flows.server.leftovers import end_leftovers
from infra.errors import UserError
from infra.words import duration

SETTLED = timedelta(seconds=15)
"""After so much time nobody says any more that a run is cancelled."""


def rerun(run: str) -> str:
    """Have a run done again by any worker of its pool, which resumes it; its id.

    `run` is a run's id or its name, of several the last one. Raises UserError for a run that is not known, that is
    alive or waiting, or that no worker can start.
    """
    with get_client(sync_client=True) as client:
        found = _find(client, run)
        assert found.state is not None
        if found.state.is_scheduled():
            raise UserError(f"run {run}: is {found.state.name}, waiting for a worker of pool {found.work_pool_name}.")
        if not found.state.is_final():
            _require_silence(client, found, found.state)
            end_leftovers(client, found.id)
            client.set_flow_run_state(found.id, Crashed(message="Its engine is gone."), force=True)
        if found.deployment_id is None:
            raise UserError(
                f"run {run}: was started by hand, not from a deployment: no worker can start it. It is ended; what it"
                " has made is kept. Give the same command again."
            )
        _until_settled(found.state)
        client.set_flow_run_state(found.id, AwaitingRetry(message="Run again: instaflow rerun."), force=True)
        return str(found.id)


def _until_settled(state: State) -> None:
    """A worker says a second time that a run is cancelled, when its process is gone, whatever was said meanwhile."""
    if state.is_cancelled():
        since = datetime.now(UTC) - state.timestamp
        time.sleep(max(0.0, (SETTLED - since).total_seconds()))


def _find(client: SyncPrefectClient, run: str) -> FlowRun:
    try:
        return client.read_flow_run(UUID(run))
    except ObjectNotFound as error:
        raise _unknown(run) from error
    except ValueError:
        named = FlowRunFilter(name=FlowRunFilterName(any_=[run]))
        if found := client.read_flow_runs(flow_run_filter=named, sort=FlowRunSort.START_TIME_DESC, limit=1):
            return found[0]
        raise _unknown(run) from None


def _unknown(run: str) -> UserError:
    return UserError(f"run {run}: the server knows none of this id or name. See: prefect flow-run ls")


def _require_silence(client: SyncPrefectClient, run: FlowRun, state: State) -> None:
    last = _last_sign_of_life(client, run.id, state)
    silent, needed = datetime.now(UTC) - last, silence(client)
    if silent < needed:
        raise UserError(
            f"run {run.name}: is {state.name} and gave a sign of life {duration(silent.total_seconds())} ago. Cancel"
            f" it first (prefect flow-run cancel {run.id}), or wait until it is silent for"
            f" {duration(needed.total_seconds())}."
        )


def _last_sign_of_life(client: SyncPrefectClient, run: UUID, state: State) -> datetime:
    """When the run last said anything, or changed its state."""
    wanted = {
        "filter": {
            "event": {"prefix": ["prefect.flow-run."]},
            "resource": {"id": [f"prefect.flow-run.{run}"]},
            "occurred": {"since": (datetime.now(UTC) - timedelta(days=7)).isoformat()},
        },
        "limit": 1,
    }
    events = client.request("POST", "/events/filter", json=wanted).raise_for_status().json()["events"]
    return max([datetime.fromisoformat(event["occurred"]) for event in events], default=state.timestamp)
