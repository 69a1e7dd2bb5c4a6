"""What a run does and leaves out, and what its record says of it."""

from __future__ import annotations

import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.exceptions import TerminationSignal

from flows.run import sources
from flows.run.runner import LeftOut, recorded
from flows.run.selection import Choice
from flows.run.watch import current
from flows.server import mirror
from infra.artifact import Artifact
from infra.artifact.redo import standing
from infra.errors import UserError
from infra.recipe import apply_overrides
from infra.store import StoreError
from infra.store.local import LocalStore
from infra.upkeep.runs import list_runs, read_ref
from infra.upkeep.sweep import garbage
from tasks.sections import World
from tasks.stages import STAGES, Stage
from tests.flows.kitchen import CHAIN, RECIPE, Kitchen
from tests.flows.small_stages import Small, small


def test_a_part_is_run_and_the_rest_later(kitchen: Kitchen) -> None:
    assert kitchen.run(until=("pairs-1",)) == ["world", "prompts", "pairs-1"]
    assert kitchen.run(only=("reflow",)) == ["reflow-1"]
    states = {stage.stage: stage.state for stage in list_runs(kitchen.store)[-1].stages}
    assert states == {"world": "cached", "prompts": "cached", "pairs-1": "cached", "reflow-1": "done"}
    rest = ["pairs-student", "distill", "pairs-direct", "direct", "real", "evaluate", "report"]
    assert kitchen.run(start=("reflow",)) == rest
    assert kitchen.run() == []
    assert {line.state for line in kitchen.plan().values()} == {"cached"}


def test_what_lies_after_the_chosen_part_is_not_missed(kitchen: Kitchen) -> None:
    report = kitchen.handles(until=("world",))["report"]
    assert isinstance(report, LeftOut) and "prompts" in report.stage_ids


def test_a_forced_stage_is_redone_and_what_follows_is_still_good(kitchen: Kitchen) -> None:
    kitchen.run()
    before = {line.id: line.artifact for line in kitchen.plan().values()}
    assert kitchen.run(force=("reflow", "world")) == ["world", "reflow-1"]
    assert {line.id: line.artifact for line in kitchen.plan().values()} == before


def test_a_forced_stage_with_another_outcome_redoes_what_follows(kitchen: Kitchen) -> None:
    kitchen.run()

    kitchen.stage = _otherwise
    assert kitchen.run(force=("distill",), until=("distill",)) == ["distill"]
    kitchen.stage = small
    assert kitchen.run() == ["evaluate", "report"]


class Other(Small):
    """Small work with another outcome."""

    def text(self) -> str:
        """What the files hold."""
        return f"other than {super().text()}"


def _otherwise(stage: Stage) -> Stage:
    return replace(small(stage), work=f"{__name__}:Other")


def test_a_forced_stage_that_is_stopped_goes_on_and_keeps_the_old_one(kitchen: Kitchen) -> None:
    kitchen.run()
    old, told = kitchen.artifact("direct"), list[int]()

    def stopped_once(done: int, total: int, unit: str) -> None:
        told.append(done)
        if told == [0, 1, 2]:
            raise KeyboardInterrupt

    kitchen.progress = stopped_once
    with pytest.raises(KeyboardInterrupt):
        kitchen.run(force=("direct",))
    assert Artifact.find(kitchen.store, old.uri).manifest == old.manifest
    assert old.fetch(old.files("part-2.txt")[0]).exists(), "the old files too"
    assert kitchen.run(force=("direct",)) == ["direct"]
    assert told == [0, 1, 2, 2, 3], "the second demand goes on where the first was stopped"
    assert standing(kitchen.store, old.base) == {}
    new = Artifact.find(kitchen.store, old.uri)
    assert new.digest == old.digest and new.manifest.finished_at > old.manifest.finished_at


def test_what_is_expected_to_go_beyond_the_budget_is_not_begun(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And Prefect is told."""
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(mirror, "emit_event", lambda event, resource, payload: told.append((event, payload["error"])))
    kitchen.run()
    changed = apply_overrides(RECIPE, ["distill.seed=7", "budget={run: 0.0000000001h, stages: {pairs: 0.0000000001h}}"])
    with pytest.raises(UserError, match=r"budget\.run: 0\.0000000001h: distill is expected to take .* Nothing of it"):
        kitchen.run(changed)
    last = list_runs(kitchen.store)[-1]
    assert told == [("instaflow.run.budget", (last.error or "").partition(": ")[2])]
    assert kitchen.done == [] and last.state == "failed" and "distill" not in [one.stage for one in last.stages]
    assert kitchen.run(apply_overrides(changed, ["budget.run=1h"]))[0] == "distill"


def test_a_lost_file_is_made_again_and_nothing_else(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STAGES, "pairs", small(STAGES["pairs"]))  # the plan counts its units, too
    kitchen.run()
    pairs = kitchen.artifact("pairs-1")
    kitchen.store.delete(f"{pairs.base}/{pairs.files('part-1.txt')[0].path}")
    line = kitchen.plan()["pairs-1"]
    assert line.state == "resume" and "is missing" in line.reason
    with pytest.raises(UserError, match="stage reflow-1 needs pairs-1"):
        kitchen.run(only=("reflow",))
    assert kitchen.run() == ["pairs-1"]
    assert Artifact.find(kitchen.store, pairs.uri).digest == pairs.digest


def test_a_run_leaves_a_record_and_a_reference_for_each_stage(kitchen: Kitchen) -> None:
    handles = kitchen.handles(until=("reflow-1",))
    (record,) = list_runs(kitchen.store)
    assert (record.recipe, record.state, record.exit, record.error) == ("test", "done", 0, None)
    assert record.finished_at and record.user and record.pid and "host" in record.environment
    assert [(one.stage, one.state) for one in record.stages] == [
        ("world", "done"), ("prompts", "done"), ("pairs-1", "done"), ("reflow-1", "done"),
    ]  # fmt: skip
    made, ref = handles["pairs-1"], read_ref(kitchen.store, "test", "pairs-1")
    assert isinstance(made, Artifact) and ref is not None
    assert (ref.artifact, ref.digest) == (made.base, made.digest) == (record.stages[2].artifact, made.digest)
    assert ref.config == CHAIN.nodes["pairs-1"].config.identity() and {*ref.inputs} == {"teacher", "prompts"}


def test_a_record_says_when_each_stage_ran_and_what_of(kitchen: Kitchen) -> None:
    told = ["pairs.steps=7", "prompts.note=s3://key:word@bucket/x?token=1"]
    for _ in range(2):
        with recorded(CHAIN, kitchen.store, Choice(until=("prompts",)), overrides=told) as do:
            CHAIN.replay(do)
    for record in list_runs(kitchen.store):
        assert record.overrides == ["pairs.steps=7", "prompts.note=s3://bucket/x"]
        assert (record.teacher, record.teacher_digest) == ("mini", sources.given("model", "mini").digest)
        assert record.flow_run is None, "there was none"
        times = [record.started_at, *(at for one in record.stages for at in (one.started_at, one.finished_at))]
        assert None not in times and record.finished_at
        assert times == sorted(times) and times[-1] <= record.finished_at, "found cached is an end, too"
    made, found = list_runs(kitchen.store)
    assert made.device_seconds == sum(one.device_seconds or 0 for one in made.stages) > 0 == found.device_seconds


def test_a_record_says_why_each_stage_ran(kitchen: Kitchen) -> None:
    kitchen.run(until=("prompts",))
    kitchen.run(apply_overrides(RECIPE, ["prompts.seed=5"]), until=("prompts",))
    kitchen.run(apply_overrides(RECIPE, ["prompts.seed=5"]), until=("prompts",), force=("world",))
    reasons = [{stage.stage: stage.reason for stage in run.stages} for run in list_runs(kitchen.store)]
    first = "first run of this recipe"
    assert reasons[:2] == [{"world": first, "prompts": first}, {"world": None, "prompts": "seed: 0 -> 5"}]
    assert reasons[2]["world"] == "asked for (--force)"


def test_a_stage_that_fails_has_an_end(kitchen: Kitchen) -> None:
    with pytest.raises(RuntimeError), recorded(CHAIN, kitchen.store) as do:
        with do.recording.stage("world", "world/0123456789abcdef", World(), {}):
            raise RuntimeError("boom")
    (stage,) = list_runs(kitchen.store)[0].stages
    assert stage.started_at and stage.finished_at and stage.started_at <= stage.finished_at


def test_another_teacher_takes_no_reference_away(kitchen: Kitchen, tmp_path: Path) -> None:
    def run(teacher: str, *overrides: str) -> set[str]:
        (tmp_path / teacher).mkdir(exist_ok=True)
        (tmp_path / teacher / "weights.txt").write_text(teacher)
        handles = kitchen.handles(apply_overrides(RECIPE, [f"teacher.path={tmp_path / teacher}", *overrides]))
        return {one.base for one in handles.values() if isinstance(one, Artifact)}

    def unwanted() -> set[str]:
        return {one.what for one in garbage(kitchen.store, datetime.now(UTC) + timedelta(seconds=5))}

    before, after = run("sd15"), run("sd21")
    assert len(before - after) > 5 and unwanted() == set()
    again = run("sd15", "pairs.steps=7")
    assert unwanted() == before - again - after, "what the same teacher made in another way is replaced"


def test_a_line_a_stage_tells_who_looks_on(kitchen: Kitchen, capsys: pytest.CaptureFixture[str]) -> None:
    kitchen.run(until=("prompts",))
    kitchen.run(until=("world",))
    first, *_, again, left_out = capsys.readouterr().err.splitlines()
    base = kitchen.artifact("world").base
    assert first.startswith("world ") and first.endswith(f" s  {base}")
    assert again.split() == ["world", "cached", base] and left_out.split()[:2] == ["prompts", "cached"]


@pytest.mark.parametrize(
    ("error", "state", "exit", "message"),
    [
        (UserError("no such file"), "failed", 2, "UserError: no such file"),
        (RuntimeError("boom"), "failed", 1, "RuntimeError: boom"),
        (MemoryError(), "failed", 1, "MemoryError"),
        (KeyboardInterrupt(), "cancelled", "SIGINT", "SIGINT"),
        (TerminationSignal(signal=signal.SIGTERM), "cancelled", "SIGTERM", "SIGTERM"),
    ],
)
def test_how_a_run_ends_is_recorded(
    kitchen: Kitchen, error: BaseException, state: str, exit: int | str, message: str
) -> None:
    def fails(done: int, total: int, unit: str) -> None:
        raise error

    kitchen.progress = fails
    with pytest.raises(type(error)):
        kitchen.run()
    (record,) = list_runs(kitchen.store)
    assert (record.state, record.exit, record.error) == (state, exit, message)
    (stage,) = record.stages
    assert (stage.stage, stage.state, stage.error) == ("world", state, message) and stage.seconds > 0


def test_a_store_that_is_gone_at_the_end_hides_no_error(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise StoreError("the store is gone")

    with pytest.raises(RuntimeError, match="boom"), recorded(CHAIN, kitchen.store):
        monkeypatch.setattr(LocalStore, "write", gone)
        raise RuntimeError("boom")
    assert list_runs(kitchen.store)[0].state == "running", "as one that was killed"


def test_a_sign_of_life_that_cannot_be_given_stops_nothing(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = LocalStore.write

    def cut_off(self: LocalStore, path: str, data: bytes) -> None:
        if path.startswith("runs/"):
            raise StoreError("no way through")
        write(self, path, data)

    def beats(done: int, total: int, unit: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(LocalStore, "write", cut_off)
            watch = current()
            assert watch is not None
            watch.beat()

    kitchen.progress = beats
    assert kitchen.run(until=("world",)) == ["world"]
    assert "the run's record is not up to date: no way through" in caplog.text
    assert list_runs(kitchen.store)[0].stages[0].state == "done"


def test_nothing_is_recorded_of_a_choice_that_cannot_be(kitchen: Kitchen) -> None:
    with pytest.raises(UserError, match="--only nothing: this recipe has no such stage"):
        kitchen.run(only=("nothing",))
    assert kitchen.store.list() == []
