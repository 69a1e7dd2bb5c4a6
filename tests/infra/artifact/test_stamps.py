"""A file is read once, by whatever process, until it is another file; and what cannot be kept is read again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from infra.artifact import stamps
from infra.artifact.cache_folder import cache_folder
from infra.artifact.fingerprint import sha256_bytes, sha256_file
from infra.artifact.stamps import remembered, sha256_of, stamp
from tests import ROOT
from tests.infra.counted import aged

DAY_S = 86_400.0


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INSTAFLOW_CACHE", str(tmp_path / "place"))
    return tmp_path / "place"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the files that are read, as they are."""
    found: list[str] = []
    monkeypatch.setattr(stamps, "sha256_file", lambda path: (found.append(path.name), sha256_file(path))[1])
    yield found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that was not changed for a minute."""
    (tmp_path / "weights").write_bytes(b"old")
    return aged(tmp_path / "weights", 60)


def test_it_is_read_once(file: Path, reads: list[str]) -> None:
    assert [sha256_of(file) for _ in range(3)] == [sha256_bytes(b"old")] * 3 and reads == ["weights"]


def overwrite(path: Path) -> None:
    path.write_bytes(b"new")


def grow(path: Path) -> None:
    since = path.stat().st_mtime
    path.write_bytes(b"older")
    os.utime(path, (since, since))


def replace(path: Path) -> None:
    """As installers do: another file of the same size, with the time that it had where it was packed."""
    since = path.stat().st_mtime_ns
    path.with_name("arriving").write_bytes(b"new")
    os.utime(path.with_name("arriving"), ns=(since, since))
    path.with_name("arriving").rename(path)


def lead_elsewhere(path: Path) -> None:
    since = path.stat().st_mtime_ns
    path.rename(path.with_name("moved"))
    path.with_name("other").write_bytes(b"new")
    os.utime(path.with_name("other"), ns=(since, since))
    path.symlink_to("other")


@pytest.mark.parametrize("change", [overwrite, grow, replace, lead_elsewhere])
def test_a_file_that_was_used_and_then_changed_is_read_again(file: Path, change: Callable[[Path], None]) -> None:
    assert sha256_of(file) == sha256_bytes(b"old")
    change(file)
    assert sha256_of(file) == sha256_file(file) != sha256_bytes(b"old")


def test_a_change_within_one_tick_of_the_clock_is_seen(file: Path) -> None:
    """Some disks count in two seconds: the file then looks as it did when it was read."""
    file.write_bytes(b"one")
    since = file.stat().st_mtime_ns
    assert sha256_of(file) == sha256_bytes(b"one")
    file.write_bytes(b"two")
    os.utime(file, ns=(since, since))
    assert sha256_of(file) == sha256_bytes(b"two")


def test_what_was_just_read_is_noted(file: Path, reads: list[str]) -> None:
    stamp(file, sha256_bytes(b"old"), file.with_name("moved"))
    moved = file.rename(file.with_name("moved"))
    assert sha256_of(moved) == sha256_bytes(b"old") and reads == []
    overwrite(moved)
    stamp(moved, sha256_bytes(b"new"), moved)
    assert sha256_of(moved) == sha256_bytes(b"new") and reads == ["moved"], "too young to be believed"


def test_anything_that_has_a_state_is_remembered() -> None:
    assert remembered("s3://a/b", "3 bytes", 0.0, lambda: "x") == "x"
    assert remembered("s3://a/b", "3 bytes", 0.0, lambda: "y") == "x"
    assert remembered("s3://a/b", "4 bytes", 0.0, lambda: "z") == "z"


_READ = """
import sys
from pathlib import Path
from infra.artifact import stamps
def read(path): raise SystemExit(f"{path} is read again")
if sys.argv[1] == "stamped":
    stamps.sha256_file = read
for path in sys.argv[2:]:
    print(stamps.sha256_of(Path(path)), flush=True)
"""


def start(how: str, *paths: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _READ, how, *map(str, paths)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def test_what_one_process_read_the_next_need_not(file: Path) -> None:
    for how in ("unknown", "stamped"):
        with start(how, file) as process:
            assert process.communicate(timeout=120)[0].split() == [sha256_bytes(b"old")] and process.returncode == 0


def test_many_processes_and_threads_at_once_and_one_is_killed(tmp_path: Path, reads: list[str]) -> None:
    paths = [tmp_path / f"{number:03d}" for number in range(200)]
    for path in paths:
        path.write_bytes(path.name.encode())
        aged(path, 60)
    expected = [sha256_bytes(path.name.encode()) for path in paths]
    processes = [start("unknown", *paths) for _ in range(3)]
    try:
        assert processes[0].stdout and processes[0].stdout.readline().strip() == expected[0]
        processes[0].send_signal(signal.SIGKILL)
        with ThreadPoolExecutor(4) as pool:
            assert [*pool.map(sha256_of, paths)] == expected
        for process in processes[1:]:
            assert process.communicate(timeout=120)[0].split() == expected and process.returncode == 0
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    reads.clear()
    assert [sha256_of(path) for path in paths] == expected and reads == []


def _child(path: Path) -> str:
    return sha256_of(path)


def test_a_fork_knows_what_its_parent_read(file: Path, reads: list[str]) -> None:
    sha256_of(file)
    reads.append("parent")
    with get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_child, (file,)).get(120) == sha256_bytes(b"old")
    assert sha256_of(file) == sha256_bytes(b"old") and reads == ["weights", "parent"]


def test_another_boot_reads_again(
    file: Path, reads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power loss may have torn what was not synced, with the size and the time that it should have."""
    for boot in ("first", "second"):
        (tmp_path / "boot").write_text(boot)
        monkeypatch.setattr(stamps, "_BOOT", tmp_path / "boot")
        stamps._connection.cache_clear()
        sha256_of(file)
    assert reads == ["weights"] * 2
    old, new = (cache_folder() / f"stamps-{boot}.sqlite" for boot in ("first", "second"))
    aged(old, 8 * DAY_S)
    (tmp_path / "boot").write_text("third")
    stamps._connection.cache_clear()
    sha256_of(file)
    assert not old.exists() and new.exists()


def test_without_a_place_each_process_remembers_its_own(
    file: Path, reads: list[str], place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.write_text("no folder")
    assert [sha256_of(file) for _ in range(3)] == [sha256_bytes(b"old")] * 3 and reads == ["weights"]
    assert f"cache {cache_folder()}" in caplog.text and "Not a directory" in caplog.text


def test_a_damaged_file_of_stamps_is_no_stamp(file: Path, reads: list[str], caplog: pytest.LogCaptureFixture) -> None:
    sha256_of(file)
    (kept,) = cache_folder().glob("stamps-*.sqlite")
    kept.write_bytes(b"no database" * 1000)
    for _ in range(3):
        assert sha256_of(file) == sha256_bytes(b"old")
    assert f"cache {cache_folder()}: file is not a database" in caplog.text
    kept.unlink()
    stamps._connection.cache_clear()
    reads.clear()
    for _ in range(3):
        assert sha256_of(file) == sha256_bytes(b"old")
    assert reads == ["weights"]


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sha256_of(tmp_path / "absent")
