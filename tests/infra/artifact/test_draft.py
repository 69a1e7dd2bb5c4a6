"""The commit protocol: a kill between any two steps leaves orphans at worst, and doing it again agrees."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from infra.artifact import Artifact, ArtifactMissing, Draft, Folder, Source, UnitsMissing
from infra.artifact import draft as draft_module
from infra.artifact.redo import FORCED, path_of, redo_all, redo_units, standing, why_redo
from infra.environment import utc_now
from infra.store import Store, StoreError, open_store
from tests.infra.small_artifact import PRINT, UNITS, commit, make
from tests.infra.stores import DownStore, FailingStore, Killed


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_every_change_then_resumed_agrees(tmp_path: Path, after: bool) -> None:
    whole = FailingStore(tmp_path / "whole", fatal=-1)
    left = {f"{Draft(whole, 'pairs', PRINT).base}/checkpoints/train/step-{step}.json": b"{}" for step in (1, 2)}
    _put(whole, left)
    undisturbed = make(whole)
    assert whole.deletes == 2, "the end of finishing is reached too"
    for fatal in range(1, whole.changes + 1):
        root = tmp_path / f"killed-{fatal}"
        _put(open_store(root), left)
        with pytest.raises(Killed):
            make(FailingStore(root, fatal, after=after))
        store = open_store(root)
        finished = fatal > whole.writes or (after and fatal == whole.writes)
        if not finished:
            with pytest.raises(ArtifactMissing):
                Artifact.open(store, "pairs", PRINT)
        done = Draft(store, "pairs", PRINT).units()
        assert {*done} <= {*UNITS}
        resumed = make(store)
        assert resumed.digest == undisturbed.digest
        assert {file.path for file in resumed.manifest.files} == {file.path for file in undisturbed.manifest.files}
        for file in resumed.manifest.files:
            resumed.fetch(file)


def _put(store: Store, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        (Path(store.url) / path).parent.mkdir(parents=True, exist_ok=True)
        (Path(store.url) / path).write_bytes(data)


def _on(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr(draft_module, "environment", lambda: {"host": host, "torch": "2.15.0"})


def test_a_unit_says_what_made_it_and_an_artifact_what_made_each(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for unit, host, device in zip(UNITS, ("one", "two", "one"), ("NVIDIA H200", "CPU", "NVIDIA H200"), strict=True):
        _on(monkeypatch, host)
        with Draft(store, "pairs", PRINT, lambda device=device: device) as draft:  # type: ignore[misc]
            commit(draft, unit, 1.0)
    _on(monkeypatch, "three")
    with Draft(store, "pairs", PRINT, lambda: "CPU") as draft:
        made = draft.finish(UNITS, 1, {}, {}, {}, {}, utc_now())
    told = {name: (unit.environment["host"], unit.environment["device"]) for name, unit in made.units().items()}
    assert told == {
        "shard-000000": ("one", "NVIDIA H200"),
        "shard-000001": ("two", "CPU"),
        "model": ("one", "NVIDIA H200"),
    }
    assert Artifact.open(store, "pairs", PRINT).units() == made.units()
    assert len(made.manifest.environments) == 2, "each once"
    assert made.manifest.environment["host"] == "three", "who finished it"
    assert made.digest == make(open_store(f"memory://{PRINT}/elsewhere")).digest, "the content's alone"


def test_units_that_stay_as_they_were_keep_what_made_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    _on(monkeypatch, "one")
    made = make(store)
    redo_units(store, made.base, UNITS[:1], "damaged")
    _on(monkeypatch, "two")
    again = make(store).units()
    assert [again[unit].environment["host"] for unit in UNITS] == ["two", "one", "one"]


def test_units_of_earlier_versions_do_not_say_what_made_them(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with Draft(store, "pairs", PRINT) as draft:
        for unit in UNITS:
            commit(draft, unit, 1.0)
        for unit in UNITS[:2]:
            path = f"{draft.base}/units/{unit}.json"
            record = json.loads(store.read(path))
            del record["environment"]
            store.write(path, json.dumps(record).encode())
    units = make(store).units()
    assert [bool(units[unit].environment) for unit in UNITS] == [False, False, True]


def test_committed_units_are_not_done_again(tmp_path: Path) -> None:
    counting = FailingStore(tmp_path / "store", fatal=6)
    with pytest.raises(Killed):
        make(counting)
    again = FailingStore(tmp_path / "store", fatal=-1)
    make(again)
    assert counting.writes == 6 and again.writes == 2 + 1 + 3 + 1  # second shard, folder, manifest


def test_a_unit_whose_blob_is_missing_or_short_is_redone(store: Store) -> None:
    made = make(store)
    shards = made.files("shard-*.tar")
    store.delete(f"{made.base}/{shards[0].path}")
    store.write(f"{made.base}/{shards[1].path}", b"torn")
    assert [*Draft(store, "pairs", PRINT).units()] == ["model"]
    assert make(store).digest == made.digest


def test_a_unit_that_another_run_has_replaced_is_read_again(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    with Draft(store, "pairs", PRINT) as ours, Draft(store, "pairs", PRINT) as theirs:
        commit(ours, UNITS[0], 1.0)
        commit(theirs, UNITS[0], 2.0)
        mine, replaced = ours.units()[UNITS[0]], theirs.units()[UNITS[0]]
        (timing,) = [file for file in mine.files if file.volatile]
        store.delete(f"{ours.base}/{timing.path}")  # as gc does when no record names it any more
        assert ours.units() == {UNITS[0]: replaced} and mine != replaced


def test_a_unit_record_that_is_another_s_or_leads_elsewhere_is_redone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(tmp_path)
    with Draft(store, "pairs", PRINT) as draft:
        for unit in UNITS[:2]:
            commit(draft, unit, 1.0)
        own, other = (f"{draft.base}/units/{unit}.json" for unit in UNITS[:2])
        record = store.read(own)
    for hostile in (store.read(other), record.replace(b'"data/shard', b'"data/../../shard'), record + b"x"):
        store.write(own, hostile)
        assert [*Draft(store, "pairs", PRINT).units()] == [UNITS[1]] and "is no unit record" in caplog.text
        caplog.clear()


def test_a_damaged_unit_record_is_redone(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    made = make(store)
    store.write(f"{made.base}/units/model.json", b"{")
    assert "model" not in Draft(store, "pairs", PRINT).units() and "no unit record" in caplog.text
    assert make(store).digest == made.digest


def test_an_outage_is_no_missing_unit(tmp_path: Path) -> None:
    make(open_store(tmp_path))
    with pytest.raises(StoreError):
        Draft(DownStore(tmp_path), "pairs", PRINT).units()
    with pytest.raises(StoreError) as caught:
        Artifact.open(DownStore(tmp_path), "pairs", PRINT)
    assert not isinstance(caught.value, FileNotFoundError)


def test_two_runs_at_once_agree(store: Store) -> None:
    first, second = Draft(store, "pairs", PRINT), Draft(store, "pairs", PRINT)
    for unit in UNITS:
        commit(first, unit, 1.0)
        commit(second, unit, 2.0)
    one = first.finish(UNITS, 1, {}, {}, {}, {}, utc_now())
    two = second.finish(UNITS, 1, {}, {}, {}, {}, utc_now())
    assert one.digest == two.digest == Artifact.open(store, "pairs", PRINT).digest


def test_the_first_to_finish_is_the_result(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    first = make(store)
    late = Draft(store, "pairs", PRINT)
    for unit in UNITS:
        commit(late, unit, 1.0)
    shard = late.workdir / "other"
    shard.write_bytes(b"made on another machine")
    late.commit_unit(UNITS[0], {f"{UNITS[0]}.tar": shard}, rows=4)
    second = late.finish(UNITS, 1, {}, {}, {}, {}, utc_now())
    assert second.digest == first.digest and "another run was first" in caplog.text
    found = Artifact.open(store, "pairs", PRINT)
    assert found.digest == second.digest
    for file in found.manifest.files:
        found.fetch(file)


def test_what_is_to_be_redone_is_replaced(store: Store) -> None:
    first = make(store)
    redo_all(store, first.base)
    with Draft(store, "pairs", PRINT) as draft:
        (draft.workdir / "other").write_bytes(b"made anew")
        draft.commit_unit("model", {"model.txt": draft.workdir / "other"})
        second = draft.finish(["model"], 1, {}, {}, {}, {}, utc_now())
    assert second.digest != first.digest and Artifact.open(store, "pairs", PRINT).digest == second.digest


def test_who_was_asleep_while_it_was_forced_touches_nothing(store: Store) -> None:
    asleep = Draft(store, "pairs", PRINT)
    for unit in UNITS:
        commit(asleep, unit, 1.0)
    old = make(store)
    redo_all(store, old.base)
    with Draft(store, "pairs", PRINT) as forced:
        (forced.workdir / "other").write_bytes(b"made anew")
        forced.commit_unit("model", {"model.txt": forced.workdir / "other"})
        store.write(f"{forced.place}/checkpoints/train/step-1.json", b"{}")
        assert asleep.finish(UNITS, 1, {}, {}, {}, {}, utc_now()).digest == old.digest
        assert why_redo(old) == FORCED and store.list(f"{forced.place}/checkpoints")
        new = forced.finish(["model"], 1, {}, {}, {}, {}, utc_now())
        assert new.manifest.redone and not store.list(f"{forced.place}/checkpoints") and why_redo(new) is None
    assert asleep.finish(UNITS, 1, {}, {}, {}, {}, utc_now()).digest == new.digest != old.digest
    assert Artifact.open(store, "pairs", PRINT).manifest == new.manifest


def test_what_is_forced_before_it_is_finished_replaces_what_was_finished_since(store: Store) -> None:
    first = Draft(store, "pairs", PRINT)
    commit(first, UNITS[0], 1.0)
    redo_all(store, first.base)
    forced = Draft(store, "pairs", PRINT)
    assert forced.units() == {} and [*first.units()] == [UNITS[0]]
    for draft in (first, forced):
        for unit in [unit for unit in UNITS if unit not in draft.units()]:
            commit(draft, unit, 1.0)
    old = first.finish(UNITS, 1, {}, {}, {}, {}, utc_now())
    assert why_redo(old) == FORCED, "who asked for it has yet to do it"
    new = forced.finish(UNITS, 1, {}, {}, {}, {}, utc_now())
    found = Artifact.open(store, "pairs", PRINT)
    assert found.manifest == new.manifest != old.manifest and why_redo(found) is None


def test_killed_between_manifest_and_marks_it_is_done(store: Store) -> None:
    made = make(store)
    redo_all(store, made.base)
    mark = standing(store, made.base)
    again = make(store)
    for name, redo in mark.items():
        store.write(path_of(made.base, name), redo.to_bytes())
    assert why_redo(again) is None and standing(store, made.base) == {}
    redo_all(store, made.base)
    assert len(standing(store, made.base)) == 1, "another demand is another one"
    make(store)
    assert standing(store, made.base) == {}, "what was answered stays so"


def test_inputs_are_pinned(store: Store, tmp_path: Path) -> None:
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "config.json").write_text("{}")
    inputs: dict[str, Source] = {"teacher": Folder.open(tmp_path / "teacher"), "pairs": make(store)}
    made = Draft(store, "reflow", PRINT).finish([], 1, {}, inputs, {}, {}, utc_now())
    assert [(given.role, given.digest) for given in made.manifest.inputs] == sorted(
        (role, source.digest) for role, source in inputs.items()
    )


def test_finish_drops_checkpoints_and_the_work_folder(store: Store) -> None:
    draft = Draft(store, "pairs", PRINT)
    work = draft.workdir
    store.write(f"{draft.base}/checkpoints/step-1.json", b"{}")
    draft.finish([], 1, {}, {}, {}, {}, utc_now())
    assert store.list(f"{draft.base}/checkpoints") == [] and not work.exists()


def test_two_blobs_of_one_name_are_a_bug(store: Store, tmp_path: Path) -> None:
    draft = Draft(store, "pairs", PRINT)
    for unit in ("a", "b"):
        (tmp_path / "x").write_text(unit)
        draft.commit_unit(unit, {"curve.parquet": tmp_path / "x"})
    with pytest.raises(AssertionError, match="under one name"):
        draft.finish(["a", "b"], 1, {}, {}, {}, {}, utc_now())


def test_what_is_expected_and_not_there_is_named_and_nothing_finished(store: Store) -> None:
    undisturbed = make(store)
    with Draft(store, "reflow", PRINT) as draft:
        commit(draft, UNITS[1], 1.0)
        with pytest.raises(UnitsMissing, match=rf"{draft.base}: not committed any more: model, shard-000000$"):
            draft.finish(UNITS, 1, {}, {}, {}, {}, utc_now())
        with pytest.raises(ArtifactMissing):
            Artifact.open(store, "reflow", PRINT)
        for unit in (UNITS[0], UNITS[2]):
            commit(draft, unit, 1.0)
        made = draft.finish(UNITS, 1, {}, {}, {}, {}, utc_now())
    assert [file.sha256 for file in made.files()] == [file.sha256 for file in undisturbed.files()]


def test_a_unit_lost_meanwhile_is_missing(store: Store) -> None:
    with Draft(store, "pairs", PRINT) as draft:
        for unit in UNITS:
            commit(draft, unit, 1.0)
        assert [*draft.units()] == sorted(UNITS)
        store.delete(f"{draft.base}/units/{UNITS[1]}.json")
        with pytest.raises(UnitsMissing, match="shard-000001"):
            draft.finish(UNITS, 1, {}, {}, {}, {}, utc_now())


def test_a_unit_that_nobody_expects_stays_out(store: Store, tmp_path: Path) -> None:
    expected = make(open_store(tmp_path / "undisturbed")).digest
    with Draft(store, "pairs", PRINT) as draft:
        (draft.workdir / "x").write_text("left by somebody who expected more")
        draft.commit_unit("shard-000002", {"shard-000002.tar": draft.workdir / "x"}, rows=4)
    made = make(store)
    assert made.digest == expected and made.manifest.rows == 8 and not made.files("shard-000002*")


def test_another_process_commits_to_the_same_generation(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    redo_all(store, make(store).base)
    with Draft(store, "pairs", PRINT) as ours:
        assert ours.generation.marks
        with pickle.loads(pickle.dumps(ours)) as theirs:
            redo_all(store, ours.base)  # by somebody else, meanwhile
            commit(theirs, UNITS[0], 1.0)
            assert theirs.place == ours.place and [*ours.units()] == [UNITS[0]]


def test_the_store_is_asked_whether_a_unit_is_there(store: Store) -> None:
    with Draft(store, "pairs", PRINT) as ours, Draft(store, "pairs", PRINT) as theirs:
        assert not ours.has(UNITS[0]) and ours.units() == {}
        commit(theirs, UNITS[0], 1.0)
        assert ours.has(UNITS[0]) and not ours.has(UNITS[1])
        (shard,) = [file for file in ours.units()[UNITS[0]].files if file.name == f"{UNITS[0]}.tar"]
        whole = store.read(f"{ours.base}/{shard.path}")
        store.write(f"{ours.base}/{shard.path}", b"torn")
        assert not ours.has(UNITS[0])
        store.write(f"{ours.base}/{shard.path}", whole)
        assert ours.has(UNITS[0])
        store.delete(f"{ours.base}/units/{UNITS[0]}.json")
        assert not ours.has(UNITS[0])


def test_an_outage_is_no_unit_that_nobody_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        Draft(DownStore(tmp_path), "pairs", PRINT).has(UNITS[0])
