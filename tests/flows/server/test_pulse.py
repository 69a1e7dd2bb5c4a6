"""Signs of life are of runs in a terminal; that their end is noticed is in tests/flows/deploy/test_notifications.py."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from flows.server import pulse
from infra.upkeep.runs import RunRecord
from tests import ROOT

RECORD = RunRecord(
    run_id="2026-11-22T161018-4bd7d1",
    recipe="tiny",
    state="running",
    started_at="2026-11-22T16:10:18+00:00",
    environment={"host": "box"},
)


@contextmanager
def inside(deployment: uuid.UUID | None) -> Iterator[None]:
    """A flow run of it."""
    run = FlowRun(flow_id=uuid.uuid4(), deployment_id=deployment)
    with FlowRunContext.model_construct(flow_run=run):
        yield


def test_a_terminal_is_told_from_a_worker() -> None:
    assert not pulse.is_of_a_terminal(), "no flow"
    with inside(None):
        assert pulse.is_of_a_terminal()
    with inside(uuid.uuid4()):
        assert not pulse.is_of_a_terminal()


def test_an_event_says_which_run_and_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[dict[str, object]] = []
    monkeypatch.setattr(pulse, "emit_event", lambda **event: events.append(event))
    pulse.beat(RECORD, "pairs-1")
    pulse.end(RECORD)
    assert [one["event"] for one in events] == [pulse.ALIVE, pulse.ENDED]
    for one in events:
        assert one["resource"] == {
            "prefect.resource.id": f"instaflow.run.{RECORD.run_id}",
            "prefect.resource.name": "tiny",
        }
    assert events[0]["payload"] == {"recipe": "tiny", "run": RECORD.run_id, "stage": "pairs-1", "host": "box"}


GONE = """
import os, time
from flows.server import pulse
from tests.flows.server.test_pulse import RECORD
started = time.monotonic()
pulse.beat(RECORD, "pairs-1")
pulse.end(RECORD)
os._exit(time.monotonic() - started > 5)
"""


def test_a_server_that_is_gone_holds_nobody_up() -> None:
    gone = os.environ | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    ran = subprocess.run([sys.executable, "-c", GONE], cwd=ROOT, env=gone, timeout=240, check=False)
    assert ran.returncode == 0
