"""The commit protocol: a kill between any two steps leaves orphans at worst, and doing it again agrees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra import cache
from infra.artifact import Artifact, ArtifactMissing, Draft, Folder, Source
from infra.environment import utc_now
from infra.errors import UserError
from infra.fingerprint import fingerprint, sha256_bytes
from infra.manifest import FileRecord, Manifest
from infra.redo import redo_all
from infra.store import Store, StoreError
from tests.infra.stores import DownStore, FailingStore, Killed

PRINT = fingerprint("pairs", 1, {"steps": 25}, {})
UNITS = ["shard-000000", "shard-000001", "model"]


def make(store: Store, seconds: float = 1.0) -> Artifact:
    """A stage in small: two shards with a timing file each, and a folder; only missing units are made."""
    with Draft(store, "pairs", PRINT) as draft:
        started_at = utc_now()
        for unit in [unit for unit in UNITS if unit not in draft.units()]:
            commit(draft, unit, seconds)
        return draft.finish(1, {"steps": 25}, {}, {"mean": 0.5}, {"noise": 1}, started_at)


def commit(draft: Draft, unit: str, seconds: float) -> None:
    if unit == "model":
        tree = draft.workdir / "tree"
        (tree / "unet").mkdir(parents=True)
        (tree / "model_index.json").write_text("{}")
        (tree / "unet" / "config.json").write_text('{"a": 1}')
        draft.commit_unit(unit, {"model": tree})
        return
    shard, timing = draft.workdir / "shard", draft.workdir / "timing"
    shard.write_bytes(unit.encode() * 1000)
    timing.write_text(str(seconds))
    blobs = {f"{unit}.tar": shard, f"{unit}-timing.json": timing}
    draft.commit_unit(
        unit, blobs, rows=4, seconds=seconds, volatile=[f"{unit}-timing.json"], blob_rows={f"{unit}.tar": 4}
    )


def test_an_artifact_is_what_was_committed(store: Store) -> None:
    made = make(store)
    found = Artifact.open(store, "pairs", PRINT)
    assert found.manifest == made.manifest and found.digest == made.digest
    assert found.manifest.rows == 8 and found.manifest.fingerprint == PRINT
    assert [file.name for file in found.files("shard-*.tar")] == ["shard-000000.tar", "shard-000001.tar"]
    record = found.files("shard-000000.tar")[0]
    content = b"shard-000000" * 1000
    assert record.path == f"data/shard-000000-{sha256_bytes(content)[:12]}.tar"
    assert (record.sha256, record.bytes, record.rows) == (sha256_bytes(content), 12_000, 4)
    for name in (record, "shard-000000.tar", record.path):
        assert found.fetch(name).read_bytes() == content
    folder = found.folder("model")
    assert (folder / "unet" / "config.json").read_text() == '{"a": 1}' and (folder / "model_index.json").exists()
    assert found.folder() / folder.relative_to(found.folder()) == folder
    with pytest.raises(KeyError, match="no file 'absent'"):
        found.fetch("absent")
    with pytest.raises(KeyError, match="no folder 'absent'"):
        found.folder("absent")


def test_the_manifest_is_json_anyone_can_read(store: Store) -> None:
    base = make(store).base
    data = json.loads(store.read(f"{base}/manifest.json"))
    assert data["schema_version"] == 1 and {"path", "sha256", "bytes", "rows", "volatile"} == {*data["files"][0]}
    assert data["environment"]["python"] and data["config"] == {"steps": 25}
    assert [file["path"] for file in data["files"]] == sorted(file["path"] for file in data["files"])


def test_the_digest_ignores_timings(tmp_path: Path) -> None:
    one, two = (make(Store.open(tmp_path / name), seconds) for name, seconds in (("one", 1.0), ("two", 2.0)))
    assert one.digest == two.digest and one.manifest.seconds < two.manifest.seconds
    assert one.files("*timing*") != two.files("*timing*")


def test_the_digest_sees_the_content(tmp_path: Path) -> None:
    manifest = make(Store.open(tmp_path)).manifest
    file = manifest.files[0]
    for change in ({"sha256": "0" * 64}, {"path": "data/x"}, {"bytes": 1}, {"rows": 77}):
        others = [file.model_copy(update=change), *manifest.files[1:]]
        changed = manifest.model_copy(update={"files": others}).digest != manifest.digest
        assert changed != file.volatile
    assert manifest.model_copy(update={"stage": "x"}).digest != manifest.digest
    assert manifest.model_copy(update={"metrics": {}, "environment": {}}).digest == manifest.digest


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_every_write_then_resumed_agrees(tmp_path: Path, after: bool) -> None:
    whole = FailingStore(tmp_path / "whole", fatal=-1)
    undisturbed = make(whole)
    for fatal in range(1, whole.writes + 1):
        root = tmp_path / f"killed-{fatal}"
        with pytest.raises(Killed):
            make(FailingStore(root, fatal, after=after))
        store = Store.open(root)
        finished = after and fatal == whole.writes
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
    store = Store.open(tmp_path / "store")
    with Draft(store, "pairs", PRINT) as ours, Draft(store, "pairs", PRINT) as theirs:
        commit(ours, UNITS[0], 1.0)
        commit(theirs, UNITS[0], 2.0)
        mine, replaced = ours.units()[UNITS[0]], theirs.units()[UNITS[0]]
        (timing,) = [file for file in mine.files if file.volatile]
        store.delete(f"{ours.base}/{timing.path}")  # as gc does when no record names it any more
        assert ours.units() == {UNITS[0]: replaced} and mine != replaced


def test_a_damaged_unit_record_is_redone(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    made = make(store)
    store.write(f"{made.base}/units/model.json", b"{")
    assert "model" not in Draft(store, "pairs", PRINT).units() and "no unit record" in caplog.text
    assert make(store).digest == made.digest


def test_an_outage_is_no_missing_unit(tmp_path: Path) -> None:
    make(Store.open(tmp_path))
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
    one = first.finish(1, {}, {}, {}, {}, utc_now())
    two = second.finish(1, {}, {}, {}, {}, utc_now())
    assert one.digest == two.digest == Artifact.open(store, "pairs", PRINT).digest


def test_the_first_to_finish_is_the_result(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    first = make(store)
    late = Draft(store, "pairs", PRINT)
    for unit in UNITS:
        commit(late, unit, 1.0)
    shard = late.workdir / "other"
    shard.write_bytes(b"made on another machine")
    late.commit_unit(UNITS[0], {f"{UNITS[0]}.tar": shard}, rows=4)
    second = late.finish(1, {}, {}, {}, {}, utc_now())
    if store.create("probe", b"1") and store.create("probe", b"2"):
        assert second.digest != first.digest, "a store without create-once: the last is the result, and is whole"
    else:
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
        second = draft.finish(1, {}, {}, {}, {}, utc_now())
    assert second.digest != first.digest and Artifact.open(store, "pairs", PRINT).digest == second.digest


@pytest.mark.parametrize("position", [0, 6_000, 11_999])
def test_a_flipped_bit_is_found(store: Store, position: int) -> None:
    made = make(store)
    record = made.files("shard-000000.tar")[0]
    path = f"{made.base}/{record.path}"
    data = bytearray(store.read(path))
    data[position] ^= 1
    store.write(path, bytes(data))
    with pytest.raises(UserError) as caught:
        made.fetch(record)
    text = str(caught.value)
    assert record.path in text and record.sha256 in text and sha256_bytes(bytes(data)) in text
    assert "run the stage again" in text
    store.delete(path)
    assert make(store).digest == made.digest
    assert made.fetch(record).read_bytes() == b"shard-000000" * 1000


def test_a_file_gone_is_named(store: Store) -> None:
    made = make(store)
    record = made.files("shard-000000.tar")[0]
    store.delete(f"{made.base}/{record.path}")
    with pytest.raises(UserError, match=r"shard-000000-\w+\.tar: the file is missing\. Run the stage again"):
        made.fetch(record)


def test_a_damaged_cache_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTAFLOW_CACHE", str(tmp_path / "cache"))
    made = make(Store.open(f"memory://bucket{tmp_path}"))
    record = made.files("shard-000000.tar")[0]
    local = made.fetch(record)
    cache._verified.clear()
    local.write_bytes(b"torn")
    assert made.fetch(record) == local and local.read_bytes() == b"shard-000000" * 1000


def test_find(store: Store) -> None:
    made = make(store)
    assert Artifact.find(store, f"pairs/{PRINT[:4]}").digest == made.digest
    assert Artifact.find(store, f"pairs/{PRINT[:16]}/").digest == made.digest
    assert Artifact.find(Store.open("memory://elsewhere"), made.uri).digest == made.digest
    for ref in ("pairs/zz", "reflow/00", "pairs", ""):
        with pytest.raises(ArtifactMissing, match="expected stage/fingerprint"):
            Artifact.find(store, ref)
    store.write(f"pairs/{PRINT[:8]}ffffffff/units/a.json", b"")
    with pytest.raises(UserError, match="several answer to it"):
        Artifact.find(store, f"pairs/{PRINT[:4]}")


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"{", "the whole file"), (b'{"schema_version": 2}', "schema_version"), (b"\xff", "the whole file")],
)
def test_a_manifest_that_does_not_parse(store: Store, data: bytes, expected: str) -> None:
    base = make(store).base
    store.write(f"{base}/manifest.json", data)
    with pytest.raises(UserError, match=f"manifest.json: {expected}") as caught:
        Artifact.open(store, "pairs", PRINT)
    assert not isinstance(caught.value, ArtifactMissing)


def test_numbers_that_json_lacks_survive(store: Store) -> None:
    draft = Draft(store, "evaluate", PRINT)
    made = draft.finish(1, {}, {}, {"best": float("inf"), "none": None, "by": [float("nan")]}, {}, utc_now())
    again = Artifact.open(store, "evaluate", PRINT)
    assert again.digest == made.digest and again.manifest.metrics == {
        "best": "Infinity",
        "none": None,
        "by": ["NaN"],
    }


def test_inputs_are_pinned(store: Store, tmp_path: Path) -> None:
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "config.json").write_text("{}")
    inputs: dict[str, Source] = {"teacher": Folder.open(tmp_path / "teacher"), "pairs": make(store)}
    made = Draft(store, "reflow", PRINT).finish(1, {}, inputs, {}, {}, utc_now())
    assert [(given.role, given.digest) for given in made.manifest.inputs] == sorted(
        (role, source.digest) for role, source in inputs.items()
    )


def test_finish_drops_checkpoints_and_the_work_folder(store: Store) -> None:
    draft = Draft(store, "pairs", PRINT)
    work = draft.workdir
    store.write(f"{draft.base}/checkpoints/step-1.json", b"{}")
    draft.finish(1, {}, {}, {}, {}, utc_now())
    assert store.list(f"{draft.base}/checkpoints") == [] and not work.exists()


def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "a" / "unet").mkdir(parents=True)
    (tmp_path / "a" / "unet" / "x").write_text("1")
    folder = Folder.open(tmp_path / "a", "model")
    assert folder.folder("unet") == tmp_path / "a" / "unet"
    assert folder.folder() == folder.folder("model") == tmp_path / "a"
    assert Folder.open(tmp_path / "a" / "unet" / "x").digest == sha256_bytes(b"1")
    (tmp_path / "a" / "unet" / "x").write_text("2")
    assert Folder.open(tmp_path / "a").digest != folder.digest
    with pytest.raises(UserError, match="no such file or folder"):
        Folder.open(tmp_path / "absent")


@pytest.mark.parametrize("name", ["index.parquet", "shard-000000.tar", "README", "a.tar.gz", "model/unet/c-1.json"])
def test_logical_names(name: str) -> None:
    head, _, rest = name.partition("/")
    stem, suffix = (head, "") if rest else (Path(head).stem, Path(head).suffix)
    path = f"data/{stem}-0123456789ab{suffix}" + (f"/{rest}" if rest else "")
    assert FileRecord(path=path, sha256="", bytes=0).name == name


def test_two_blobs_of_one_name_are_a_bug(store: Store, tmp_path: Path) -> None:
    draft = Draft(store, "pairs", PRINT)
    for unit in ("a", "b"):
        (tmp_path / "x").write_text(unit)
        draft.commit_unit(unit, {"curve.parquet": tmp_path / "x"})
    with pytest.raises(AssertionError, match="under one name"):
        draft.finish(1, {}, {}, {}, {}, utc_now())


def test_the_manifest_survives_a_round_trip(tmp_path: Path) -> None:
    manifest = make(Store.open(tmp_path)).manifest
    assert Manifest.from_bytes(manifest.to_bytes(), "x") == manifest
