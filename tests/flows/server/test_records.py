"""The server has the end of every task run before it is stopped."""

from __future__ import annotations

import time
from uuid import UUID, uuid4

import pytest
from prefect import flow, runtime, task
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.server import records
from flows.server.connection import connected
from flows.server.records import expect_task_run, flush


@pytest.fixture(autouse=True)
def _nothing_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_task_runs", set[UUID]())


def test_outside_of_a_task_run_there_is_nothing_to_wait_for() -> None:
    expect_task_run()
    assert records._task_runs == set()
    started = time.monotonic()
    flush(within_s=30.0)
    assert time.monotonic() - started < 10


def test_a_server_that_is_gone_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    records._task_runs.add(uuid4())
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        flush(within_s=30.0)
    assert "the Prefect server does not answer any more" in caplog.text


@pytest.mark.server
def test_what_was_done_is_on_record_when_the_server_stops(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[UUID] = []

    @task(persist_result=False)
    def work() -> None:
        expect_task_run()
        seen.append(UUID(runtime.task_run.id))

    @flow(persist_result=False)
    def whole() -> None:
        work()

    with connected():
        whole()
        assert records._task_runs == {*seen}
        flush()
        with get_client(sync_client=True) as client:
            assert client.read_task_run(seen[0]).state_name == "Completed"
        records._task_runs.add(uuid4())  # one that never ends
        flush(within_s=0.5)
        assert "the Prefect server lacks the end of 1 task run(s)" in caplog.text
        records._task_runs.clear()
