"""Garbage is what nobody needs; everything else survives a sweep."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.artifact import Artifact, ArtifactMissing
from infra.artifact.redo import redo_all, redo_units
from infra.errors import UserError
from infra.store import Store, open_store
from infra.store.local import LocalStore
from infra.store.remote import RemoteStore
from infra.upkeep.inventory import entries, find, pin
from infra.upkeep.runs import Ref, RunRecord, StageRun, list_runs, write_begun, write_ref, write_run
from infra.upkeep.sweep import Garbage, _kept, garbage, sweep
from infra.upkeep.verify import damages, mark
from tests.infra.chain import make, make_chain

STORES = ("local", "memory", "rclone")  # moto takes seconds for what rclone does in a tenth
OLD = datetime(2000, 1, 1, tzinfo=UTC)  # moto says that every upload began in 2010


def _late() -> datetime:
    """A moment before which everything written so far was written."""
    return datetime.now(UTC) + timedelta(seconds=5)


def _what(store: Store) -> dict[str, Garbage]:
    return {one.what: one for one in garbage(store, _late())}


def _swept(store: Store) -> list[str]:
    return [one.what for one in sweep(store, garbage(store, _late()), _late())]


def _run(made: Artifact, silent_s: float, inputs: Sequence[Artifact] = ()) -> RunRecord:
    """The record of a run that has taken the artifact, and was last heard of that long ago."""
    heard = datetime.now(UTC) - timedelta(seconds=silent_s)
    stage = StageRun(stage="pairs-1", artifact=made.base, state="cached", inputs=[one.base for one in inputs])
    return RunRecord(
        run_id="x",
        recipe="mini",
        state="running",
        started_at="2026-01-01T00:00:00+00:00",
        heartbeat_at=heard.isoformat(),
        stages=[stage],
    )


def test_what_a_recipe_needs_is_no_garbage(store: Store, tmp_path: Path) -> None:
    make_chain(store, tmp_path / "teacher")
    assert _what(store) == {}


def test_what_nobody_needs_is_removed_whole(store: Store, tmp_path: Path) -> None:
    kept = make_chain(store, tmp_path / "teacher")
    loose = make(store, "pairs", {"prompts": kept["prompts"]}, {"steps": 9})
    found = _what(store)
    assert {*found} == {loose.base}
    first, *units, _, _ = found[loose.base].files
    assert first.endswith("/manifest.json") and all("/units/" in path for path in units), "nobody trusts half of it"
    assert found[loose.base].bytes == sum(store.sizes(loose.base).values())
    assert garbage(store, OLD) == [], "the grace period"
    assert sweep(store, found.values(), _late()) == [*found.values()]
    assert store.list(loose.base) == []
    with pytest.raises(ArtifactMissing):
        find(store, loose.base)
    for entry in entries(store):
        assert entry.artifact and [*damages(entry.artifact)] == []


def test_old_references_keep_what_they_were_made_from(store: Store, tmp_path: Path) -> None:
    make_chain(store, tmp_path / "teacher")
    newer = make_chain(store, tmp_path / "teacher", seed=1)
    assert {*_what(store)} == {
        entry.base for entry in entries(store) if entry.base not in {one.base for one in newer.values()}
    }
    assert len(_what(store)) == 3
    store.delete("refs/mini/pairs-1.json")
    store.delete("refs/mini/prompts.json")
    assert len(_what(store)) == 3, "the student's inputs are kept with the student"


def test_a_pin_keeps_an_artifact_and_its_inputs(store: Store, tmp_path: Path) -> None:
    old = make_chain(store, tmp_path / "teacher")
    make_chain(store, tmp_path / "teacher", seed=1)
    pin(store, old["pairs-1"])
    assert {*_what(store)} == {old["distill"].base}


def test_a_run_that_goes_on_keeps_what_it_has(store: Store) -> None:
    prompts = make(store, "prompts", {})
    made = make(store, "pairs", {"prompts": prompts})
    write_run(store, _run(made, silent_s=30))
    assert _what(store) == {}
    write_run(store, _run(made, silent_s=30).model_copy(update={"state": "failed"}))
    assert {*_what(store)} == {made.base, prompts.base}


def test_a_run_that_goes_on_keeps_what_it_makes_something_from(store: Store) -> None:
    prompts, unfinished = make(store, "prompts", {}), make(store, "pairs", {})
    store.delete(f"{unfinished.base}/manifest.json")
    write_run(store, _run(unfinished, silent_s=30, inputs=[prompts]))
    assert _what(store) == {}
    store.delete("runs/x.json")
    write_begun(store, "mini", "pairs-1", unfinished.base, [prompts.base])
    assert _what(store) == {}, "a run that was killed goes on some day"
    store.delete("begun/mini/pairs-1.json")
    assert {*_what(store)} == {unfinished.base, prompts.base}


def test_a_killed_run_holds_what_it_had_for_the_grace_and_no_longer(store: Store) -> None:
    made = make(store, "pairs", {})
    write_run(store, _run(made, silent_s=10 * 86400))
    assert {*_what(store)} == {made.base}, "it said that it runs ten days ago"
    write_run(store, _run(made, silent_s=600))
    assert garbage(store, datetime.now(UTC) - timedelta(days=7)) == []
    before, now = datetime.now(UTC) - timedelta(seconds=900), _late()
    assert _kept(store, [*entries(store)], before) == {made.base}, "lost ten minutes ago: within the grace"
    assert _kept(store, [*entries(store)], now) == set()


class Racing(LocalStore):
    """A local store on which something happens right before the first manifest is deleted."""

    def __init__(self, root: Path, happens: Callable[[], object]) -> None:
        super().__init__(root)
        self.happens: Callable[[], object] | None = happens

    def delete(self, path: str) -> None:
        """Let it happen first."""
        if self.happens and path.endswith("/manifest.json"):
            happens, self.happens = self.happens, None
            happens()
        super().delete(path)


@pytest.mark.parametrize("moment", ["before it looks again", "after that"])
def test_a_run_that_takes_an_old_artifact_in_between_keeps_it(tmp_path: Path, moment: str) -> None:
    plain = open_store(tmp_path / "store")
    prompts = make(plain, "prompts", {})
    taken, loose = make(plain, "pairs", {"prompts": prompts}), make(plain, "pairs", {}, {"steps": 9})
    before = {path: plain.read(path) for base in (taken.base, prompts.base) for path in plain.list(base)}

    def run() -> None:
        write_begun(plain, "mini", "pairs-1", taken.base)
        assert Artifact.find(plain, taken.base).digest == taken.digest, "cached"

    racing = Racing(tmp_path / "store", run if moment == "after that" else lambda: None)
    found = garbage(racing, _late())
    assert {one.what for one in found} == {taken.base, prompts.base, loose.base}
    if moment == "before it looks again":
        run()
    assert [one.what for one in sweep(racing, found, _late())] == [loose.base]
    assert {path: plain.read(path) for path in before} == before and plain.list(loose.base) == []
    assert all([*damages(entry.artifact)] == [] for entry in entries(plain) if entry.artifact)


def test_an_orphan_is_kept_when_its_artifact_has_come_to_be_redone(store: Store) -> None:
    made = make(store, "pairs", {})
    blob, orphan = b"made again", f"{made.base}/data/shard-000002-000000000000.tar"
    store.write(orphan, blob)
    found = garbage(store, _late())
    assert [one.what for one in found] == [made.base]
    write_begun(store, "mini", "pairs-1", made.base)
    found = garbage(store, _late())
    assert [one.what for one in found] == [orphan]
    redo_units(store, made.base, ["shard-000001"], "damaged")
    assert sweep(store, found, _late()) == [] and store.read(orphan) == blob


def test_what_was_not_shown_is_not_removed(store: Store) -> None:
    shown = make(store, "pairs", {})
    found = garbage(store, _late())
    later = make(store, "pairs", {}, {"steps": 9})
    assert [one.what for one in sweep(store, found, _late())] == [shown.base]
    assert find(store, later.base)


def test_records_of_runs_are_kept_for_a_season(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    done = {"recipe": "mini", "state": "done", "started_at": "2026-01-01T00:00:00+00:00"}
    for name, days in (("a", 91), ("b", 89), ("c", 0)):
        write_run(store, RunRecord(run_id=name, **done))  # type: ignore[arg-type]
        written = time.time() - 86400 * days
        os.utime(tmp_path / "runs" / f"{name}.json", (written, written))
    store.write("runs/torn.json", b"{")
    os.utime(tmp_path / "runs" / "torn.json", (0, 0))
    assert _swept(store) == ["runs/a.json", "runs/torn.json"]
    assert [run.run_id for run in list_runs(store)] == ["b", "c"]


def test_what_a_recipe_made_of_another_teacher_is_kept_for_a_season(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    one, two, again = (make(store, "pairs", {}, {"teacher": number}) for number in range(3))
    for number, (made, given) in enumerate([(one, "1" * 16), (two, "2" * 16), (again, "2" * 16)]):
        told = StageRun(stage="pairs-1", artifact=made.base, state="done")
        at = f"2020-01-0{number + 1}T00:00:00+00:00"
        run = RunRecord(run_id=f"r{number}", recipe="mini", given=given, state="done", started_at=at, stages=[told])
        write_run(store, run)
    write_ref(store, "mini", "pairs-1", Ref(artifact=again.base, digest=again.digest, config={}, inputs={}))
    assert {*_what(store)} == {two.base}, "of each teacher the last"
    written = time.time() - 91 * 86400
    for number in range(3):
        os.utime(tmp_path / "runs" / f"r{number}.json", (written, written))
    _swept(store)
    assert {*_what(store)} == {one.base}, "the last run's stays"


def test_what_a_recipe_began_is_kept_unfinished(store: Store) -> None:
    for name in ("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"):
        store.write(f"pairs/{name}/units/shard-000000.json", b"{}")
    write_begun(store, "mini", "pairs-1", "pairs/aaaaaaaaaaaaaaaa")
    found = _what(store)
    assert {*found} == {"pairs/bbbbbbbbbbbbbbbb"} and "unfinished" in found["pairs/bbbbbbbbbbbbbbbb"].reason
    assert garbage(store, OLD) == []


def test_orphans_in_a_finished_artifact_are_swept_and_nothing_else(store: Store, tmp_path: Path) -> None:
    made = make_chain(store, tmp_path / "teacher")["pairs-1"]
    orphans = {f"{made.base}/data/shard-000000-000000000000.tar", f"{made.base}/checkpoints/train/step-1.safetensors"}
    for path in orphans:
        store.write(path, b"orphan")
    store.write(f"{made.base}/report.txt", b"somebody's notes")
    assert {*_what(store)} == orphans
    redo_all(store, made.base)
    assert _what(store) == {}, "work in progress"
    make_chain(store, tmp_path / "teacher")
    store.write(next(iter(orphans)), b"orphan")
    _swept(store)
    assert [*damages(made)] == [] and store.exists(f"{made.base}/report.txt") and _what(store) == {}


def test_what_was_verified_is_swept_as_if_it_were_not(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    made = make(store, "pairs", {})
    old = time.time() - 9e5
    for path in store.list(made.base):
        os.utime(tmp_path / "store" / path, (old, old))
    mark(made, [], {})
    before = datetime.now(UTC) - timedelta(days=7)
    found = garbage(store, before)
    assert [one.what for one in found] == [made.base], "reading it makes nothing younger"
    sweep(store, found, before)
    assert store.list() == []


def test_what_is_not_ours_is_left_alone(store: Store) -> None:
    store.write("notes/mine/readme.txt", b"")
    store.write("photos/0123456789abcdef/holiday.jpg", b"looks like an artifact")
    _swept(store)
    assert store.list() == ["notes/mine/readme.txt", "photos/0123456789abcdef/holiday.jpg"]


def test_an_unknown_is_never_taken_for_unneeded(store: Store, tmp_path: Path) -> None:
    made = make_chain(store, tmp_path / "teacher")
    manifest = store.read(f"{made['distill'].base}/manifest.json")
    store.write(f"{made['distill'].base}/manifest.json", b"{")
    with pytest.raises(UserError, match="Nothing is swept"):
        garbage(store, _late())
    store.write(f"{made['distill'].base}/manifest.json", manifest)
    store.write("pins/pairs/x.json", b"{")
    with pytest.raises(UserError, match="does not parse"):
        garbage(store, _late())


def test_temporary_files_of_a_killed_writer_are_swept(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    made = make_chain(store, tmp_path / "teacher")["pairs-1"]
    torn, fresh = (tmp_path / "store" / made.base / "data" / f".tmp-{name}" for name in ("torn", "fresh"))
    for path in (torn, fresh):
        path.write_bytes(b"torn")
    os.utime(torn, (time.time() - 9e5, time.time() - 9e5))
    found = garbage(store, datetime.now(UTC) - timedelta(days=7))
    assert [one.leftover for one in found] == [f"{made.base}/data/.tmp-torn"]
    sweep(store, found, datetime.now(UTC) - timedelta(days=7))
    assert not torn.exists() and fresh.exists()


def test_a_multipart_upload_of_a_killed_writer_is_swept(tmp_path: Path, s3: Store) -> None:
    made = make_chain(s3, tmp_path / "teacher")["pairs-1"]
    assert isinstance(s3, RemoteStore)
    bucket, _, prefix = s3.url.removeprefix("s3://").partition("/")
    for key in (f"{prefix}/{made.base}/data/big.tar", "elsewhere/big.tar"):
        s3._fs.call_s3("create_multipart_upload", Bucket=bucket, Key=key)
    assert garbage(s3, OLD) == [], "the grace period"
    found = garbage(s3, _late())
    assert [(one.leftover or "").partition("?")[0] for one in found] == [f"{prefix}/{made.base}/data/big.tar"]
    sweep(s3, found, _late())
    assert s3.leftovers() == {}
    assert sweep(s3, found, _late()) == []
