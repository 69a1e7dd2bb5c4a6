"""How a run stands, and what it took."""

from __future__ import annotations

from tests.flows.observed.small_store import Small


def test_runs_stand_as_they_are(small: Small) -> None:
    found = {run_id[-6:]: run for run_id, run in small.known.runs.items()}
    states = {name: run.state for name, run in found.items()}
    assert states == {
        "aaaaaa": "done", "bbbbbb": "done", "cccccc": "failed", "dddddd": "lost", "eeeeee": "running",
        "ffffff": "running", "gggggg": "cancelled", "hhhhhh": "cancelled",
    }  # fmt: skip
    assert found["aaaaaa"].who == "somebody@node-1" and found["aaaaaa"].took_s == 600
    assert found["aaaaaa"].teacher and found["aaaaaa"].teacher.endswith("/teacher")
    assert found["bbbbbb"].count("cached") == 5 and found["bbbbbb"].count("done") == 2
    assert found["cccccc"].error and found["dddddd"].error is None


def test_what_was_sent_to_others_is_part_of_it(small: Small) -> None:
    parent, part = (small.known.runs[f"2026-11-22T05500{end}"] for end in ("0-eeeeee", "1-ffffff"))
    assert [one.record for one in parent.parts] == [part.record] and part.parent == parent.record
    assert parent.device_s == part.device_s == 60
