"""What is written down of a run, and when."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.run.before import Before
from flows.run.budget import Purse
from flows.run.costs import Site
from flows.run.recording import ALONE, Recording, recording
from flows.run.watch import current
from infra.artifact import Folder
from infra.errors import UserError
from infra.store import open_store
from infra.store.local import LocalStore
from infra.upkeep.inventory import wanted_by
from infra.upkeep.runs import RunRecord, list_runs, read_ref, write_begun
from infra.upkeep.sweep import garbage, sweep
from tasks.sections import PairsJob, Recipe
from tasks.sections.budget import Budget
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


class Swept(LocalStore):
    """A local store on which something happens right before or right after a manifest is deleted."""

    def __init__(self, root: Path, happens: Callable[[], object], moment: str) -> None:
        super().__init__(root)
        self.happens, self.moment = happens, moment

    def delete(self, path: str) -> None:
        """Let it happen at its moment."""
        is_manifest = path.endswith("/manifest.json")
        if is_manifest and self.moment == "before":
            self.happens()
        super().delete(path)
        if is_manifest and self.moment == "after":
            self.happens()


@pytest.mark.parametrize(("moment", "taken"), [("before", True), ("after", False)])
def test_what_is_named_while_it_is_swept_is_kept_and_taken_if_it_is_there(
    tmp_path: Path, moment: str, taken: bool
) -> None:
    plain = open_store(tmp_path / "store")
    artifact, late = make(plain, "pairs", {}), datetime.now(UTC) + timedelta(days=1)
    files = {path: plain.read(path) for path in plain.list(artifact.base)}
    with ExitStack() as stack:
        runs: list[Recording] = []

        def run() -> None:
            runs.append(stack.enter_context(recording(plain, "mine", before=[Before("pairs-1", PAIRS, artifact)])))

        racing = Swept(tmp_path / "store", run, moment)
        assert sweep(racing, garbage(racing, late), late) == []
        assert [bool(one.record.stages) for one in runs] == [taken]
        assert {path: plain.read(path) for path in plain.list(artifact.base)} == files


def test_what_was_swept_before_it_is_named_is_not_taken(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    artifact, late = make(store, "pairs", {}), datetime.now(UTC) + timedelta(days=1)
    assert [one.what for one in sweep(store, garbage(store, late), late)] == [artifact.base]
    with recording(store, "mine", before=[Before("pairs-1", PAIRS, artifact)]) as run:
        assert run.record.stages == []
    assert read_ref(store, "mine", "pairs-1") is None


def test_what_was_made_before_and_is_whole_is_cached_and_kept_from_the_first_record_on(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    whole, damaged = make(store, "pairs", {}), make(store, "prompts", {})
    late = datetime.now(UTC) + timedelta(days=1)
    store.delete(f"{damaged.base}/{damaged.files()[0].path}")
    write_begun(store, "mine", "pairs-1", BASE)
    found = [Before("prompts", PAIRS, damaged), Before("pairs-1", PAIRS, whole)]
    with recording(store, "mine", before=found) as run:
        assert wanted_by(store) == {whole.base: ["mine"]}, "what it had set out to make instead is let go"
        assert {one.what for one in garbage(store, late)} == set(), "the first record named both"
        with run.stage("pairs-1", whole.base, PAIRS, {}) as made:
            made(whole, True)
        (record,) = list_runs(store)
        assert [one.state for one in record.stages] == ["cached", "cached"], "nothing more was written"
    (record,) = list_runs(store)
    assert [(one.stage, one.artifact, one.state) for one in record.stages] == [("pairs-1", whole.base, "cached")]
    ref = read_ref(store, "mine", "pairs-1")
    assert ref is not None and (ref.artifact, ref.digest) == (whole.base, whole.digest)
    assert {one.what for one in garbage(store, late)} == {damaged.base}


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


def test_a_budget_that_is_spent_stops_the_stage(tmp_path: Path) -> None:
    """What stages before it took counts, wherever they were done."""
    store, purse = open_store(tmp_path), Purse(Budget(run="1h"), Site())
    with (
        pytest.raises(UserError, match=r"budget\.run: 1h: 1 h 03 min of devices are spent\. pairs-1 is stopped"),
        recording(store, "mine", purse=purse) as run,
    ):
        for stage_id, elsewhere in (("pairs-2", True), ("pairs-1", False)):
            with run.stage(stage_id, BASE, PAIRS, {}) as made:
                watch = current()
                assert watch is not None
                watch.elsewhere, watch.devices, watch.started_s = elsewhere, 3, watch.started_s - 630
                watch.beat()  # half an hour of three devices, and as much again
                made(None, False)
    (record,) = list_runs(store)
    assert [one.state for one in record.stages] == ["done", "failed"] and record.exit == 2


def test_no_recipe_is_called_as_what_stands_for_none() -> None:
    with pytest.raises(ValueError, match="name"):
        Recipe(name=ALONE)
    assert RunRecord(run_id="a", recipe=ALONE, state="done", started_at="").recipe == ALONE
