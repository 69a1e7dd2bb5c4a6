"""A folder of somebody else's is pinned by what is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.artifact import Draft, Folder
from infra.artifact.fingerprint import sha256_bytes, tree_digest
from infra.environment import utc_now
from infra.errors import UserError
from infra.store import open_store
from tests.infra.counted import aged


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


def test_a_folder_is_where_it_lies_and_its_digest_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("1")
    one, other = Folder.open("a"), Folder.open("~/b")
    assert (one.uri, other.uri) == (str(tmp_path / "a"), str(tmp_path / "b"))
    assert one.digest == other.digest == tree_digest(tmp_path / "a")


def test_a_missing_folder_says_where_paths_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        Folder.open("weights/sd15")
    assert str(caught.value) == f"weights/sd15: no such file or folder. Check the path; it starts at {tmp_path}."


def test_a_linked_part_that_changes_changes_the_digest(tmp_path: Path) -> None:
    """Also in a process that has opened the folder before, and where the size is what it was."""
    (tmp_path / "teacher").mkdir()
    (tmp_path / "blobs").mkdir()
    weights = tmp_path / "blobs" / "weights.safetensors"
    weights.write_bytes(b"old")
    aged(weights, 60)
    (tmp_path / "teacher" / "unet").symlink_to("../blobs")
    before = [Folder.open(tmp_path / "teacher").digest for _ in range(2)]
    weights.write_bytes(b"new")
    after = Folder.open(tmp_path / "teacher").digest
    assert len({*before}) == 1 and after not in before and after == tree_digest(tmp_path / "teacher")


def test_files_alone_have_one_digest_wherever_they_lie(tmp_path: Path) -> None:
    for name in ("annotations/captions.json", "val2017/1.jpg"):
        (tmp_path / "coco" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "coco" / name).write_text(name)
    folder, read = Folder.open(tmp_path / "coco", "coco"), ["annotations/captions.json", "annotations/none.json"]
    with Draft(open_store(tmp_path / "store"), "world", "0" * 64) as draft:
        draft.commit_unit("coco", {"coco": tmp_path / "coco"})
        artifact = draft.finish(["coco"], 1, {}, {}, {}, {}, utc_now())
    digest = folder.digest_of("coco", read)
    assert digest == artifact.digest_of("coco", read) != folder.digest_of("coco", [])
    (tmp_path / "coco" / "val2017" / "1.jpg").write_text("repaired")
    assert Folder.open(tmp_path / "coco", "coco").digest_of("coco", read) == digest
    (tmp_path / "coco" / "annotations" / "captions.json").write_text("another")
    assert Folder.open(tmp_path / "coco", "coco").digest_of("coco", read) != digest


def test_what_cannot_be_read_is_named() -> None:
    with pytest.raises(UserError, match="/proc/self/mem: cannot be read: .*Make it readable"):
        Folder.open("/proc/self/mem")
