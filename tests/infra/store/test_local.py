"""A local store: every file is whole or not there, and an error is no absence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from infra.store import StoreError, open_store


def test_a_file_system_without_links_creates_by_replacing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    store = open_store(tmp_path)
    assert store.create("a", b"first") and store.create("a", b"second") and store.read("a") == b"second"
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StoreError, match="No space left"):
        store.create("b", b"")
    assert store.list() == ["a"] and store.leftovers() == {}


@pytest.mark.parametrize("root", ["/proc/store", "{file}/store"])
def test_an_unwritable_store_says_so_at_the_first_write(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").write_text("")
    store = open_store(root.format(file=tmp_path / "file"))
    with pytest.raises(StoreError, match="cannot write a/b: .*Make the folder writable"):
        store.write("a/b", b"")
    with pytest.raises(StoreError, match="cannot write a/b"):
        store.upload(tmp_path / "file", "a/b")


def test_an_error_is_no_absence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = open_store(tmp_path / "file")
    for ask in (store.read, store.exists, store.size, store.list, store.folders):
        with pytest.raises(StoreError, match=f"store {tmp_path}/file: cannot read"):
            ask("a")


@pytest.mark.parametrize("dies", ["replace", "fsync"])
def test_a_torn_local_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies: str) -> None:
    store = open_store(tmp_path / "store")
    store.write("a", b"old")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, dies, die)
        store.write("a", b"new")
    assert store.read("a") == b"old" and [path.name for path in (tmp_path / "store").iterdir()] == ["a"]


def test_a_temporary_file_left_by_a_kill_is_not_listed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.write("a", b"1")
    (tmp_path / ".tmp-0123").write_bytes(b"torn")
    assert store.list() == ["a"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "store")

    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(StoreError, match="No space left on device"):
        patched.setattr(Path, "write_bytes", full)
        store.write("a", b"1234")
    assert store.list() == [] and [*(tmp_path / "store").iterdir()] == []
