"""Workers are in tests/workers, with a server; here is what needs none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from prefect import State, flow, task
from prefect.client.orchestration import SyncPrefectClient
from prefect.states import AwaitingRetry, Crashed, Running
from prefect.workers.base import BaseWorker
from prefect.workers.process import ProcessWorker

from flows.deploy.worker import Worker, _bury, _listens


def test_the_type_process_stays_prefects_own() -> None:
    assert BaseWorker.get_worker_class_from_type("process") is ProcessWorker
    assert Worker.type == ProcessWorker.type, "it is what a pool of processes expects"


@pytest.mark.server
def test_what_a_killed_process_has_left_is_ended_unless_another_has_taken_the_run(api: SyncPrefectClient) -> None:
    @task
    def work() -> None: ...

    @flow
    def stage() -> None: ...

    def after(pid: str, state: State[None]) -> str | None:
        run = api.create_flow_run(stage, state=state).id
        api.update_flow_run(run, infrastructure_pid="4711")
        left = api.create_task_run(work, run, dynamic_key="0", state=Running()).id
        _bury(run, pid)
        found = api.read_task_run(left).state
        return found.name if found else None

    assert after("4711", Running()) == after("4711", Crashed()) == "Crashed"
    assert after("4712", Running()) == after("4711", AwaitingRetry()) == "Running"


_LATE = """
import signal, sys
print("up", flush=True)
sys.stdin.readline()
signal.signal(signal.SIGTERM, print)
print("on", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="told by /proc")
def test_a_process_listens_once_it_has_a_handler() -> None:
    process = subprocess.Popen([sys.executable, "-c", _LATE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "up\n" and not _listens(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "on\n" and _listens(process.pid)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert _listens(process.pid), "who is gone is waited for no longer"
