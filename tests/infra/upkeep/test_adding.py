"""A folder that is put into a store is an artifact like any other, and what is made from either is the same."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.artifact import Artifact, Folder
from infra.errors import UserError
from infra.store import Store, open_store
from infra.upkeep.adding import add
from infra.upkeep.inventory import find, pinned, unpin
from infra.upkeep.sweep import garbage
from infra.upkeep.transfer import copy
from infra.upkeep.verify import damages, mark
from tests.infra.stores import FailingStore, Killed

STORES = ("local", "memory", "rclone", "moto")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files at two levels, one of them hidden, one behind a link."""
    found = tmp_path / "teacher"
    (found / "unet").mkdir(parents=True)
    (found / "model_index.json").write_text("{}")
    (found / "unet" / "config.json").write_text('{"a": 1}')
    (found / "unet" / ".hidden").write_text("x")
    (tmp_path / "weights").write_bytes(b"w" * 10_000)
    (found / "unet" / "weights.bin").symlink_to(tmp_path / "weights")
    return found


def _late() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=5)


def test_it_is_the_folder_and_has_its_identity(store: Store, folder: Path) -> None:
    sent: list[int] = []
    made, is_new = add(store, folder, "model", sent.append)
    here = Folder.open(folder, "model")
    assert is_new and sum(sent) == 10_000 + 1 + 8 + 2
    assert Artifact.open(store, "added", made.fingerprint).digest == made.digest == here.digest
    names = ["unet/config.json", "unet/absent.json"]
    assert made.digest_of("model", names) == here.digest_of("model", names)
    there = made.folder("model")
    assert {path.relative_to(there).as_posix(): path.read_bytes() for path in there.rglob("*") if path.is_file()} == {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    assert [*damages(made)] == []


def test_adding_it_again_makes_nothing_new(store: Store, folder: Path, tmp_path: Path) -> None:
    made, _ = add(store, folder, "model")
    before = store.sizes()
    folder.rename(tmp_path / "elsewhere")
    again, is_new = add(store, tmp_path / "elsewhere", "model")
    assert not is_new and again.digest == made.digest and store.sizes() == before
    (tmp_path / "elsewhere" / "model_index.json").write_text("{ }")
    other, is_new = add(store, tmp_path / "elsewhere", "model")
    assert is_new and other.base != made.base


def test_nobody_sweeps_it_until_its_pin_is_taken_away(store: Store, folder: Path) -> None:
    made, _ = add(store, folder, "model")
    assert garbage(store, _late()) == [] and str(folder) in pinned(store)[made.base].note
    unpin(store, made)
    assert [one.what for one in garbage(store, _late())] == [made.base]
    add(store, folder, "model")
    assert garbage(store, _late()) == [], "who adds it again wants it kept again"


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_every_change_then_added_again(tmp_path: Path, folder: Path, after: bool) -> None:
    whole = FailingStore(tmp_path / "whole", fatal=-1)
    undisturbed, _ = add(whole, folder, "model")
    for fatal in range(1, whole.changes + 1):
        root = tmp_path / f"killed-{fatal}"
        with pytest.raises(Killed):
            add(FailingStore(root, fatal, after=after), folder, "model")
        left = {path: path.stat().st_mtime_ns for path in root.rglob("data/**/*") if path.is_file()}
        store = open_store(root)
        made, _ = add(store, folder, "model")
        assert made.digest == undisturbed.digest and [*damages(made)] == [] and made.base in pinned(store)
        assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in left.items()), "what was there is not sent"


def test_what_is_damaged_is_put_there_again(store: Store, folder: Path) -> None:
    made, _ = add(store, folder, "model")
    file = made.record("model/unet/weights.bin")
    for data in (b"v" * file.bytes, b"short"):
        store.write(f"{made.base}/{file.path}", data)
        mark(made, [*damages(made)], {})
        again, is_new = add(store, folder, "model")
        assert is_new and [*damages(again)] == [] and again.digest == made.digest
    store.delete(f"{made.base}/{file.path}")
    assert [*damages(add(store, folder, "model")[0])] == []


def test_it_is_copied_and_found_like_any_other(store: Store, folder: Path, tmp_path: Path) -> None:
    made, _ = add(store, folder, "model")
    assert find(store, made.fingerprint[:8]).digest == made.digest
    there = open_store(tmp_path / "there")
    assert copy(made, there) and find(there, made.base).digest == made.digest


def test_a_folder_that_changes_meanwhile_is_refused(tmp_path: Path, folder: Path) -> None:
    store = open_store(tmp_path / "store")
    config = folder / "unet" / "config.json"

    def change(count: int) -> None:
        config.write_text('{"a": 2}')
        os.utime(config, (time.time() + 9, time.time() + 9))

    with pytest.raises(
        UserError, match="teacher: changed while it was put into .*store. Add it again when it is whole"
    ):
        add(store, folder, "model", change)
    assert not [path for path in store.list() if path.endswith("manifest.json")]
    made, _ = add(store, folder, "model")
    assert made.fetch("model/unet/config.json").read_text() == '{"a": 2}'


def test_what_no_store_can_hold_is_refused_before_anything_is_sent(tmp_path: Path, folder: Path) -> None:
    store = open_store(tmp_path / "store")
    (folder / "a\\b").write_text("x")
    with pytest.raises(UserError, match=r"teacher: .*a\\\\b' is no name for a file of a store"):
        add(store, folder, "model")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: holds no file"):
        add(store, tmp_path / "empty", "model")
    with pytest.raises(UserError, match="absent: no such file or folder"):
        add(store, tmp_path / "absent", "model")
    assert store.list() == []
