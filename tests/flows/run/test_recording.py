"""What is written down of a run, and when."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.run.recording import ALONE, recording
from flows.run.watch import current
from infra.artifact import Folder
from infra.store import open_store
from infra.upkeep.inventory import wanted_by
from infra.upkeep.runs import RunRecord, list_runs, read_ref
from tasks.sections import PairsJob, Recipe
from tests.infra.chain import make

PAIRS = PairsJob(steps=2, guidance=1.0)
BASE = "pairs/0123456789abcdef"


def test_what_a_stage_sets_out_to_make_and_takes_is_wanted_from_the_beginning(tmp_path: Path) -> None:
    store, other = open_store(tmp_path / "store"), open_store(tmp_path / "other")
    (tmp_path / "teacher").mkdir()
    taken = {
        "prompts": make(store, "prompts", {}),
        "elsewhere": make(other, "pairs", {}),
        "teacher": Folder.open(tmp_path / "teacher"),
    }
    inputs = [taken["prompts"].base]
    with recording(store, ALONE) as run, run.stage("pairs-1", BASE, PAIRS, taken):
        (record,) = list_runs(store)
        assert [(one.stage, one.artifact, one.state, one.inputs) for one in record.stages] == [
            ("pairs-1", BASE, "running", inputs)
        ]
        assert wanted_by(store) == {BASE: [ALONE], inputs[0]: [ALONE]}
        assert current() is not None
    assert current() is None and wanted_by(store).keys() == {BASE, *inputs}, "finished or not"


def test_a_stage_that_made_something_is_done_and_referred_to(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    artifact = make(store, "pairs", {})
    for cached, state in ((False, "done"), (True, "cached")):
        with recording(store, "mine") as run, run.stage("pairs-1", artifact.base, PAIRS, {}) as made:
            made(artifact, cached)
        record = list_runs(store)[-1]
        assert (record.state, record.exit, record.stages[0].state) == ("done", 0, state)
    ref = read_ref(store, "mine", "pairs-1")
    assert ref is not None and (ref.artifact, ref.config) == (artifact.base, PAIRS.identity())


def test_an_alarm_stops_the_stage_and_is_how_the_run_ended(tmp_path: Path) -> None:
    store = open_store(tmp_path)

    def alarm() -> None:
        raise ValueError("a picture is missing")

    with (
        pytest.raises(ValueError, match="a picture"),
        recording(store, "mine", alarm) as run,
        run.stage("pairs-1", BASE, PAIRS, {}),
    ):
        watch = current()
        assert watch is not None
        watch.beat()
    (record,) = list_runs(store)
    assert (record.state, record.exit, record.stages[0].state) == ("failed", 1, "failed")
    assert record.error == record.stages[0].error == "ValueError: a picture is missing"


def test_no_recipe_is_called_as_what_stands_for_none() -> None:
    with pytest.raises(ValueError, match="name"):
        Recipe(name=ALONE)
    assert RunRecord(run_id="a", recipe=ALONE, state="done", started_at="").recipe == ALONE
