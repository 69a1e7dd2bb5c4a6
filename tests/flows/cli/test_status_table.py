"""What `instaflow status` says of runs that end, fail, go on, and fall silent."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console, RenderableType

from flows.cli.status_table import find_run, run_facts, run_table, runs_table, standing
from flows.run.costs import Site
from infra.errors import UserError
from infra.upkeep.runs import LOST_AFTER_S, RunRecord, StageRun

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DONE = StageRun(
    stage="pairs-1", artifact="pairs/0123456789abcdef", state="done", seconds=20.0, device="NVIDIA H200",
    device_seconds=20.0, unit="pairs", units=1280,
    samples_per_second=64.0, peak_memory_bytes=3_200_000_000, peak_device_memory_bytes=None,
)  # fmt: skip
RUN = RunRecord(
    run_id="2026-01-02T030405-abc", recipe="mini", state="running", started_at=STARTED.isoformat(), user="ada", pid=7,
    heartbeat_at=(STARTED + timedelta(minutes=2)).isoformat(), environment={"host": "node-3", "torch": "2.15.0"},
    stages=[DONE, StageRun(stage="reflow-1", artifact="reflow/0123456789abcdef", state="running")],
)  # fmt: skip


def _text(table: RenderableType) -> str:
    screen = Console(file=io.StringIO(), width=400)
    screen.print(table)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def _after(seconds: float) -> datetime:
    return STARTED + timedelta(minutes=2, seconds=seconds)


def test_a_silent_run_is_lost() -> None:
    assert standing(RUN, _after(LOST_AFTER_S)) == "running reflow-1"
    assert standing(RUN, _after(12 * 60)) == "lost (last sign of life 12 min 00 s ago)"
    assert standing(RUN, _after(-60)) == "running reflow-1", "a clock that is behind loses nobody"
    ended = RUN.model_copy(update={"state": "failed", "exit": 2})
    assert standing(ended, _after(10**6)) == "failed"


def test_a_record_of_an_older_version_is_silent_since_its_start() -> None:
    old = {"run_id": "a", "recipe": "mini", "state": "running", "started_at": STARTED.isoformat()}
    old_stage = {"stage": "pairs-1", "artifact": "pairs/0123456789abcdef", "state": "done", "seconds": 1.5}
    record = RunRecord.model_validate({**old, "stages": [old_stage]})
    assert standing(record, STARTED + timedelta(hours=3)) == "lost (last sign of life 3 h 00 min ago)"
    assert "unknown@unknown" in _text(runs_table([record], STARTED)) and "1.5 s" in _text(
        run_table(record, STARTED, Site())
    )


def test_the_last_runs_newest_first() -> None:
    runs = [RUN.model_copy(update={"run_id": f"run-{number}"}) for number in range(12)]
    lines = _text(runs_table(runs, _after(0))).splitlines()
    assert [line.split()[0] for line in lines] == ["run", *(f"run-{number}" for number in range(11, 1, -1))]
    assert all(text in lines[1] for text in ("running reflow-1", "2 min 00 s", "pairs-1", "ada@node-3"))


def test_all_that_is_known_of_a_run() -> None:
    text = _text(run_table(RUN, _after(0), Site()))
    pairs = next(line for line in text.splitlines() if line.startswith("pairs-1"))
    assert pairs.split("  ")[0] == "pairs-1"
    assert all(part in pairs for part in ("done", "20 s", "1,280 pairs", "64", "3.2 GB", "NVIDIA H200"))
    assert "20 s of device time, by ada@node-3, process 7" in text and "torch 2.15.0" in text
    assert "teacher" not in text and "set" not in text and "in Prefect" not in text
    told = {"teacher": "/models/sd15", "teacher_digest": "d" * 64, "overrides": ["a.b=1", "c=2"], "flow_run": "f-1"}
    more = _text(run_table(RUN.model_copy(update=told), _after(0), Site()))
    assert all(
        line in more for line in ("teacher /models/sd15 (dddddddddddd)\n", "set a.b=1, c=2\n", "in Prefect f-1\n")
    )
    ended = RUN.model_copy(update={"state": "cancelled", "exit": "SIGTERM"})
    assert "cancelled, exit SIGTERM" in _text(run_table(ended, _after(0), Site()))


def test_machines_are_told_what_follows_from_a_record() -> None:
    told = json.loads(json.dumps(run_facts(RUN, _after(12 * 60), Site())))
    assert (told.pop("is_lost"), told.pop("device_seconds"), told.pop("cost")) == (True, 20.0, None)
    assert RunRecord.model_validate(told) == RUN


def test_a_run_that_was_sent_says_of_which_it_is_a_part() -> None:
    sent = RUN.model_copy(update={"run_id": "child", "part_of": RUN.run_id})
    assert "mini, part of 2026-01-02T030405-abc" in _text(runs_table([RUN, sent], _after(0))).splitlines()[1]
    assert _text(run_table(sent, _after(0), Site())).count("child of mini, part of 2026-01-02T030405-abc: running") == 1


def test_a_run_by_the_beginning_of_its_name() -> None:
    other = RUN.model_copy(update={"run_id": "2026-01-02T030405-abcd"})
    assert find_run([RUN, other], RUN.run_id) is RUN, "a whole name is that one"
    assert find_run([RUN, other], "2026-01-02T030405-abcd") is other
    with pytest.raises(UserError, match=r"run 2026: several begin so: .*-abc, .*-abcd\. Give more"):
        find_run([RUN, other], "2026")
    with pytest.raises(UserError, match="run x: there is no such run here"):
        find_run([RUN, other], "x")


def test_a_site_that_knows_prices_tells_what_a_run_cost() -> None:
    site = Site(cost={"gpu": "360/h", "cpu": "180/h"}, currency="EUR")
    text, told = _text(run_table(RUN, _after(0), site)), run_facts(RUN, _after(0), site)
    assert told["cost"] and f"20 s of device time, {site.shown(told['cost'])}" in text  # type: ignore[arg-type]
    assert "cost" in text.splitlines()[0]
