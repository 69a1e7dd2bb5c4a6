"""Signs of life are of runs in a terminal; that their end is noticed is in tests/flows/deploy/test_notifications.py."""

from __future__ import annotations

import pytest
from prefect.runtime import deployment, flow_run

from flows.server import pulse
from infra.upkeep.runs import RunRecord

RECORD = RunRecord(
    run_id="2026-11-22T161018-4bd7d1",
    recipe="tiny",
    state="running",
    started_at="2026-11-22T16:10:18+00:00",
    environment={"host": "box"},
)


@pytest.mark.parametrize(
    ("of_flow", "of_deployment", "told"), [("f", None, 2), ("f", "d", 0), (None, None, 0)],
    ids=["a terminal's", "a worker's", "no flow's"],
)  # fmt: skip
def test_only_a_terminal_gives_them(
    of_flow: str | None, of_deployment: str | None, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[dict[str, object]] = []
    monkeypatch.setattr(pulse, "emit_event", lambda **event: events.append(event))
    monkeypatch.setattr(flow_run, "id", of_flow, raising=False)
    monkeypatch.setattr(deployment, "id", of_deployment, raising=False)
    pulse.beat(RECORD, "pairs-1")
    pulse.end(RECORD)
    assert [one["event"] for one in events] == [pulse.ALIVE, pulse.ENDED][:told]
    for one in events:
        assert one["resource"] == {
            "prefect.resource.id": f"instaflow.run.{RECORD.run_id}",
            "prefect.resource.name": "tiny",
        }
    if told:
        assert events[0]["payload"] == {"recipe": "tiny", "run": RECORD.run_id, "stage": "pairs-1", "host": "box"}
