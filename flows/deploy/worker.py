"""A Prefect process worker that can be taken away: told to stop, it has its runs save and requeue themselves first."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_WORKER_QUERY_SECONDS, temporary_settings
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from flows.server.arrival import HOME
from flows.server.leftovers import end_leftovers
from infra.errors import UserError

_LOOK_EVERY_S = 0.1
_ASK_EVERY_S = 2  # the server for work; Prefect's own 10 s are most of the time that a small stage takes elsewhere

if TYPE_CHECKING:
    _Status = TaskStatus[int]


class Worker(ProcessWorker):
    """Does one run at a time, or as many as come."""

    def __init__(self, pool: str, name: str | None, *, one_at_a_time: bool) -> None:
        super().__init__(
            work_pool_name=pool, name=name, limit=1 if one_at_a_time else None, create_pool_if_not_found=False
        )
        self._supervisors: dict[UUID, int] = {}  # process ids by flow run
        self._leaving = False

    @classmethod
    def __dispatch_key__(cls) -> str:
        """Another than its type: Prefect's own stays the one that is found by the type `process`."""
        return "instaflow"

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Take what is scheduled.

        Not while there is no room: a run that is rescheduled under its worker would be taken a second time, of which
        Prefect's worker dies.
        """
        full = self._limit is not None and self.limiter.available_tokens == 0
        return [] if full or self._leaving else await super().get_and_submit_flow_runs()

    async def run(
        self, flow_run: FlowRun, configuration: ProcessJobConfiguration, task_status: _Status | None = None
    ) -> ProcessWorkerResult:
        """Do one run in a process of its own; what that leaves RUNNING when it is killed is ended."""
        try:
            ended = await super().run(flow_run, configuration, _Noted(self._supervisors, flow_run.id, task_status))
        finally:
            self._supervisors.pop(flow_run.id, None)
        if ended.status_code != 0:
            await anyio.to_thread.run_sync(_bury, flow_run.id, ended.identifier)
        return ended

    async def leave(self) -> None:
        """Take nothing more, and have what is running saved and requeued: 30 s later Prefect kills what remains."""
        self._leaving, told = True, set[int]()
        while self._submitting_flow_run_ids or self._supervisors:
            for process in {*self._supervisors.values()} - told:
                if _listens(process):
                    os.kill(process, signal.SIGTERM)
                    told.add(process)
            await anyio.sleep(_LOOK_EVERY_S)


def _bury(flow_run: UUID, process: str) -> None:
    """End what a process has left of a run, unless another has taken it up or will: that ends it then."""
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(flow_run)
        if found.infrastructure_pid == process and found.state is not None and not found.state.is_scheduled():
            end_leftovers(client, flow_run)


class _Noted(TaskStatus[int]):
    """Notes the process that a run is done in, and passes it on."""

    def __init__(self, processes: dict[UUID, int], flow_run: UUID, told: _Status | None) -> None:
        self._processes, self._flow_run, self._told = processes, flow_run, told

    def started(self, value: int | None = None) -> None:
        if value is not None:
            self._processes[self._flow_run] = value
        if self._told is not None:
            self._told.started(value)  # type: ignore[arg-type]


def _listens(process: int) -> bool:
    """Whether it has a handler for SIGTERM: one that still starts would die of it and be taken for crashed."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:  # it has ended, or this is no Linux
        return True
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:")).split()[1]
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def work(pool: str, name: str | None, *, one_at_a_time: bool) -> None:
    """Do the runs of a pool until SIGTERM or Ctrl-C, then requeue those under way. UserError without the pool."""
    interrupted = _interruptions()  # before there is another thread
    _require(pool)
    os.environ.setdefault(HOME, str(Path.cwd()))
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # our prefect
    asyncio.run(_work(Worker(pool, name, one_at_a_time=one_at_a_time), interrupted))


def _interruptions() -> threading.Event:
    """Set by the first SIGTERM or Ctrl-C.

    Ctrl-C goes to every process of a terminal. Blocked here it is blocked in those that runs are done in, too: they
    are told to stop by SIGTERM, once, and not to die.
    """
    found = threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: found.set())
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    def wait() -> None:
        signal.sigwait({signal.SIGINT})
        found.set()

    threading.Thread(target=wait, name="instaflow-ctrl-c", daemon=True).start()
    return found


def _require(pool: str) -> None:
    with get_client(sync_client=True) as client:
        try:
            found = client.read_work_pool(pool)
        except ObjectNotFound as error:
            raise UserError(f"pool {pool}: the server has none of this name. Register it: instaflow deploy") from error
    if found.type != ProcessWorker.type:
        raise UserError(
            f"pool {pool}: is of type {found.type}, which has workers of its own: prefect worker start --pool {pool}"
        )


async def _work(worker: Worker, interrupted: threading.Event) -> None:
    often = {} if PREFECT_WORKER_QUERY_SECONDS.name in os.environ else {PREFECT_WORKER_QUERY_SECONDS: _ASK_EVERY_S}
    with temporary_settings(often):
        await _worked(worker, interrupted)


async def _worked(worker: Worker, interrupted: threading.Event) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(worker.start)
        while not interrupted.is_set():
            await anyio.sleep(_LOOK_EVERY_S)
        await worker.leave()
        group.cancel_scope.cancel()
