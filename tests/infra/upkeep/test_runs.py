"""Run records and references explain; they never stop a run."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from infra.store import StoreError, open_store
from infra.upkeep.runs import (
    LOST_AFTER_S,
    Ref,
    RunRecord,
    StageRun,
    changed_fields,
    given_name,
    list_runs,
    read_ref,
    write_ref,
    write_run,
)
from tests.infra.stores import DownStore

REF = Ref(
    artifact="pairs/0123456789abcdef",
    digest="d" * 64,
    config={"steps": 25, "clip": {"weights": None}},
    inputs={"teacher": "e" * 64},
)


def test_refs(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert read_ref(store, "mini", "pairs") is None
    write_ref(store, "mini", "pairs", REF)
    assert read_ref(store, "mini", "pairs") == REF and store.list() == ["refs/mini/pairs.json"]


def test_what_was_given_is_called_by_content_in_any_order() -> None:
    pairs = [("model", "d" * 64), ("coco", "e" * 64)]
    assert given_name(pairs) == given_name(pairs[::-1]) != given_name([("coco", "d" * 64), ("model", "e" * 64)])


def test_a_damaged_ref_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = open_store(tmp_path)
    store.write("refs/mini/pairs.json", b"{")
    assert read_ref(store, "mini", "pairs") is None and "refs/mini/pairs.json is no Ref" in caplog.text


def test_an_outage_is_no_missing_ref(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        read_ref(DownStore(tmp_path), "mini", "pairs")
    with pytest.raises(StoreError):
        list_runs(DownStore(tmp_path))


def test_runs_in_order(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert list_runs(store) == []
    late = RunRecord(run_id="a", recipe="mini", state="running", started_at="2026-01-02T00:00:00.000+00:00")
    early = late.model_copy(update={"run_id": "b", "started_at": "2026-01-01T00:00:00.000+00:00"})
    for record in (late, early):
        write_run(store, record)
    done = late.model_copy(
        update={
            "state": "done",
            "stages": [StageRun(stage="pairs", artifact=REF.artifact, state="done", seconds=1.5)],
        }
    )
    write_run(store, done)
    assert list_runs(store) == [early, done]


def test_a_record_of_before_a_field_was_there_is_read(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    stages = [{"stage": "pairs", "artifact": REF.artifact, "state": "done", "seconds": 1.5, "device_seconds": 1.5}]
    old = {"run_id": "a", "recipe": "mini", "state": "done", "started_at": "2026-01-02T00:00:00", "stages": stages}
    store.write("runs/a.json", json.dumps(old).encode())
    (record,) = list_runs(store)
    assert (record.overrides, record.teacher, record.teacher_digest, record.flow_run) == ([], None, None, None)
    assert record.stages[0].started_at is record.stages[0].finished_at is None and record.device_seconds == 1.5


def test_changed_fields() -> None:
    old = {"steps": 25, "clip": {"weights": None, "name": "mini"}, "gone": 1, "phases": [1, 2]}
    new = {"steps": 10, "clip": {"weights": "x", "name": "mini"}, "phases": [1, 3], "new": True}
    assert [*changed_fields(old, new)] == [
        ("clip.weights", None, "x"),
        ("gone", 1, None),
        ("new", None, True),
        ("phases", [1, 2], [1, 3]),
        ("steps", 25, 10),
    ]
    assert [*changed_fields(old, old)] == []


def test_a_run_that_is_silent_for_minutes_is_lost() -> None:
    record = RunRecord(run_id="a", recipe="mini", state="running", started_at="2026-01-02T00:00:00+00:00")
    alive = record.model_copy(update={"heartbeat_at": "2026-01-02T01:00:00+00:00"})
    then = datetime.fromisoformat("2026-01-02T01:01:00+00:00")
    assert (record.silent_s(then), alive.silent_s(then)) == (3660, 60)
    assert record.is_lost(then) and not alive.is_lost(then)
    assert alive.is_lost(then + timedelta(seconds=LOST_AFTER_S))
    assert not record.model_copy(update={"state": "done"}).is_lost(then), "it has said how it ended"
