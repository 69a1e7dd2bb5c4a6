"""Sees to it that a Prefect server has every record of this process before it is stopped.

Task runs reach the server as events and are written by a service of its own: the flow is over before
they are there.
"""

from __future__ import annotations

import logging
import time
from uuid import UUID

import httpx
from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterId
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker

from infra.address import public

WITHIN_S = 10.0
_log = logging.getLogger(__name__)
_task_runs: set[UUID] = set()


def expect_task_run() -> None:
    """Remember the task run this is called in: `flush` waits until the server has its end."""
    if run_id := runtime.task_run.id:
        _task_runs.add(UUID(run_id))


def flush(within_s: float = WITHIN_S) -> None:
    """Send events and logs, then wait until the server has the end of every expected task run, or warn."""
    EventsWorker.drain_all(timeout=within_s)
    APILogWorker.drain_all(timeout=within_s)
    deadline_s = time.monotonic() + within_s
    while missing := _missing():
        if time.monotonic() > deadline_s:
            _log.warning("the Prefect server lacks the end of %d task run(s); artifacts are not concerned", missing)
            return
        time.sleep(0.1)


def _missing() -> int:
    if not _task_runs:
        return 0
    wanted = TaskRunFilter(id=TaskRunFilterId(any_=sorted(_task_runs)))
    try:
        with get_client(sync_client=True) as client:
            found = client.read_task_runs(task_run_filter=wanted)
    except httpx.HTTPError as error:
        _log.warning("the Prefect server does not answer any more: %s", public(str(error)))
        return 0
    ended = {run.id for run in found if run.state is not None and run.state.is_final()}
    _task_runs.difference_update(ended)
    return len(_task_runs)
