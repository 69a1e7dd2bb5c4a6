"""A file has its name when it is whole, and not before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from infra.store.whole_file import TEMPORARY, whole


def test_the_name_is_given_when_the_file_is_written(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "down" / "a"

    def fill(temporary: Path) -> None:
        assert temporary.parent == target.parent and temporary.name.startswith(TEMPORARY)
        temporary.write_text("half")
        assert not target.exists()
        temporary.write_text("whole")

    whole(target, fill)
    assert target.read_text() == "whole" and [*target.parent.iterdir()] == [target]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        whole(target, fail)
    assert target.read_text() == "old" and [*tmp_path.iterdir()] == [target]


def test_a_link_creates_and_never_replaces(tmp_path: Path) -> None:
    target = tmp_path / "a"
    whole(target, lambda temporary: temporary.write_text("first"), os.link)
    with pytest.raises(FileExistsError):
        whole(target, lambda temporary: temporary.write_text("second"), os.link)
    assert target.read_text() == "first" and [*tmp_path.iterdir()] == [target]
    whole(target, lambda temporary: temporary.write_text("third"))
    assert target.read_text() == "third"


@pytest.mark.parametrize(("synced", "order"), [(True, ["file", "name", "folder"]), (False, ["name"])])
def test_the_content_is_synced_before_the_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synced: bool, order: list[str]
) -> None:
    done: list[str] = []
    fsync, folder = os.fsync, tmp_path.stat().st_ino

    def noted(handle: int) -> None:
        done.append("folder" if os.fstat(handle).st_ino == folder else "file")
        fsync(handle)

    def put(temporary: Path, target: Path) -> None:
        done.append("name")
        os.replace(temporary, target)

    monkeypatch.setattr(os, "fsync", noted)
    whole(tmp_path / "a", lambda temporary: temporary.write_text("x"), put, synced=synced)
    assert done == order
