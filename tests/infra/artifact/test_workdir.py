"""Work folders: gone with the work, or after it was killed; never while somebody works in them."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.artifact import Draft
from infra.artifact.workdir import WorkFolder, _remove_abandoned
from infra.store import open_store
from tests import ROOT

_WORKS = """
from infra.artifact import Draft
from infra.store import open_store
draft = Draft(open_store("store"), "pairs", "0" * 64)
(draft.workdir / "half a shard").write_bytes(b"x" * 1000)
print(draft.workdir, flush=True)
input()
"""


@pytest.fixture
def tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty TMPDIR, of this process and of those that it starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


@contextmanager
def working(tmpdir: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process that works in its folder."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(
        [sys.executable, "-c", _WORKS], cwd=tmpdir, env=os.environ | {"PYTHONPATH": str(ROOT)}, **pipes
    )  # type: ignore[call-overload]
    try:
        yield process, Path(process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


def _draft(tmpdir: Path) -> Draft:
    return Draft(open_store(tmpdir / "store"), "pairs", "0" * 64)


def test_what_a_killed_process_left_is_removed_by_the_next_and_nothing_else(tmpdir: Path) -> None:
    foreign = [tmpdir / name for name in ("instaflow-pairs-abcdefgh", "instaflow-notes", "tmp12345678")]
    for folder in foreign:
        folder.mkdir()
    with working(tmpdir) as (_, alive), working(tmpdir) as (asleep, slept_in), working(tmpdir) as (killed, left):
        asleep.send_signal(signal.SIGSTOP)
        killed.kill()
        killed.wait()
        assert (left / "half a shard").exists(), "nobody has removed it yet"
        with _draft(tmpdir) as draft:
            assert draft.workdir.is_dir() and not left.exists()
            kept = {*foreign, alive, slept_in, draft.workdir}
            assert {path for path in tmpdir.iterdir() if path.is_dir()} == kept
        assert (alive / "half a shard").exists() and (slept_in / "half a shard").exists()
        asleep.send_signal(signal.SIGCONT)
        alive_and_slept = {alive.name, slept_in.name}
        locks = {path.stem for path in tmpdir.glob("*.lock")}
        assert locks == alive_and_slept, "a lock goes with its folder"


def test_a_process_that_ends_leaves_nothing(tmpdir: Path) -> None:
    with working(tmpdir) as (process, folder):
        process.communicate("\n")
        assert process.returncode == 0 and not folder.exists() and [*tmpdir.iterdir()] == []


def test_a_folder_is_gone_when_it_is_closed_or_forgotten(tmpdir: Path) -> None:
    with WorkFolder("verify") as folder:
        (folder / "deep" / "er").mkdir(parents=True)
        assert folder.parent == tmpdir and folder.stat().st_mode & 0o777 == 0o700
    assert [*tmpdir.iterdir()] == []
    forgotten = WorkFolder("pairs")
    assert forgotten.path.is_dir()
    del forgotten
    assert [*tmpdir.iterdir()] == []
    draft = _draft(tmpdir)
    first = draft.workdir
    draft.close()
    assert draft.workdir != first, "a closed draft may work again"
    draft.close()


def test_nobody_takes_a_new_folder_for_an_abandoned_one(tmpdir: Path) -> None:
    def work(number: int) -> None:
        for _ in range(40):
            with WorkFolder("pairs") as folder:
                (folder / "file").write_text(str(number))
                assert (folder / "file").read_text() == str(number)

    with ThreadPoolExecutor(8) as pool:
        [*pool.map(work, range(8))]
    assert [*tmpdir.iterdir()] == []


def test_a_lock_that_was_taken_for_abandoned_before_it_was_held_is_made_anew(
    tmpdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, begun = fcntl.flock, list[int]()

    def late(held: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX:
            begun.append(held)
            if len(begun) == 1:
                _remove_abandoned(tmpdir)  # what another process does at this moment
        flock(held, operation)

    monkeypatch.setattr("fcntl.flock", late)
    with WorkFolder("pairs") as folder:
        assert len(begun) == 2 and [path.stem for path in tmpdir.glob("*.lock")] == [folder.name]
        _remove_abandoned(tmpdir)
        assert folder.is_dir()


def test_a_lock_that_nobody_may_open_is_left_alone(tmpdir: Path) -> None:
    elsewhere = tmpdir / "elsewhere"
    elsewhere.mkdir()
    (tmpdir / "instaflow-pairs-abcdefgh").symlink_to(elsewhere)
    (tmpdir / "instaflow-pairs-abcdefgh.lock").symlink_to(elsewhere / "lock")
    (elsewhere / "lock").touch()
    with WorkFolder("pairs"):
        assert (elsewhere / "lock").exists() and (tmpdir / "instaflow-pairs-abcdefgh.lock").is_symlink()


def test_where_locks_are_not_to_be_had_nothing_is_removed(tmpdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with working(tmpdir) as (process, left):
        process.kill()
        process.wait()
        with WorkFolder("pairs") as mine:
            assert left.is_dir() and mine.is_dir()
        assert left.is_dir() and not mine.exists()
