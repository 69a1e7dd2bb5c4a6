"""The cache: within its limit, least recently used first, shared by processes, and nothing unverified in it."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from infra.artifact import Artifact, Draft, cache
from infra.artifact.cache import keep
from infra.artifact.cache_folder import claimed
from infra.artifact.fingerprint import fingerprint, sha256_file
from infra.environment import utc_now
from infra.errors import UserError
from infra.store import Store, open_store
from tests import ROOT
from tests.infra.counted import Counted, aged, copies, held, unused

STORES = ("rclone",)
SIZE = 10_000


def files(store: Store, count: int, size: int = SIZE) -> Artifact:
    """An artifact of single files f0.bin, f1.bin, ..., and a folder with two of them."""
    with Draft(store, "pairs", fingerprint("pairs", 1, {}, {})) as draft:
        for number in range(count):
            path = draft.workdir / f"f{number}.bin"
            path.write_bytes(np.random.default_rng(number).bytes(size))
            draft.commit_unit(f"u{number}", {path.name: path})
        (draft.workdir / "model").mkdir()
        for name in ("a", "b"):
            (draft.workdir / "model" / name).write_bytes(name.encode() * size)
        draft.commit_unit("model", {"model": draft.workdir / "model"})
        return draft.finish(["model", *(f"u{number}" for number in range(count))], 1, {}, {}, {}, {}, utc_now())


def test_the_least_recently_used_go_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = files(store, 5)
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", str(3 * SIZE))
    for number in range(3):
        unused(made.fetch(f"f{number}.bin"), 100 - number)
    made.fetch("f0.bin")  # used again
    made.fetch("f3.bin")
    assert {*held()} == {"f0", "f2", "f3"}
    made.fetch("f4.bin")
    assert {*held()} == {"f0", "f3", "f4"}


def test_many_at_once_end_within_the_limit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = files(store, 24)
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", "100KB")
    with ThreadPoolExecutor(8) as pool:
        assert len([*pool.map(made.fetch, [f"f{number}.bin" for number in range(24)])]) == 24
    sizes = [path.stat().st_size for path in copies()]
    assert sum(sizes) <= 100_000 and len(sizes) >= 5


def test_a_file_larger_than_the_limit_is_given(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = files(store, 2)
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", "1")
    for name in ("f0.bin", "f1.bin"):
        assert made.fetch(name).stat().st_size == SIZE
    assert {*held()} == {"f1"}
    with pytest.raises(UserError, match="model takes 20000 bytes, more than the cache may hold.* Raise INSTAFLOW"):
        made.folder("model")


_FETCH = """
import sys
from infra.artifact import Artifact
from infra.artifact.fingerprint import sha256_file
from infra.store.remote import RemoteStore
from infra.store import open_store
real, downloads = RemoteStore.download, []
RemoteStore.download = lambda self, path, local: (downloads.append(path), real(self, path, local))[1]
made = Artifact.find(open_store("."), sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
path = made.fetch("f0.bin")
print(len(downloads), sha256_file(path), flush=True)
"""


def test_two_processes_that_want_one_file_download_it_once(store: Store) -> None:
    made = files(store, 1, 30_000_000)
    command = [sys.executable, "-c", _FETCH, made.uri]
    runs = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        for run in runs:
            assert run.stdout and run.stdout.readline() == "ready\n"
        for run in runs:
            assert run.stdin
            run.stdin.write("\n")
            run.stdin.flush()
        answers = [run.communicate(timeout=60)[0].split() for run in runs]
    finally:
        for run in runs:
            run.kill()
            run.wait()
    assert sorted(int(count) for count, _ in answers) == [0, 1]
    assert {sha256 for _, sha256 in answers} == {made.files("f0.bin")[0].sha256}


def test_a_process_that_hangs_is_not_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = files(store, 1)
    monkeypatch.setattr(cache, "_PATIENCE_S", 0.2)
    lock = claimed() / cache._LOCKS / made.files("f0.bin")[0].sha256[:2]
    lock.parent.mkdir(parents=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert made.fetch("f0.bin").stat().st_size == SIZE


def test_a_damaged_arrival_is_downloaded_once_more(store: Store) -> None:
    made = files(store, 1)
    counted = Counted(store, spoil=1)
    path = Artifact(counted, made.base, made.manifest).fetch("f0.bin")
    assert len(counted.names) == 2 and sha256_file(path) == made.files("f0.bin")[0].sha256


def test_a_file_damaged_in_the_store_is_refused(store: Store) -> None:
    made = files(store, 1)
    record = made.files("f0.bin")[0]
    store.write(f"{made.base}/{record.path}", bytes(SIZE))
    counted = Counted(store)
    for tries in (2, 4):
        with pytest.raises(UserError, match="the file is damaged: expected sha256"):
            Artifact(counted, made.base, made.manifest).fetch(record)
        assert len(counted.names) == tries and held() == {}


def test_a_file_of_many_parts_arrives_whole(store: Store) -> None:
    # s3fs gets what is larger than 50 MiB in ranges unless told otherwise, and rclone's checksums are of whole files
    made = files(store, 1, 55_000_000)
    assert sha256_file(made.fetch("f0.bin")) == made.files("f0.bin")[0].sha256


def test_a_cache_that_cannot_be_written(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = files(store, 1)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("INSTAFLOW_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"file/cache: cannot keep .*: Not a directory\..* name another with INSTAFLOW"):
        made.fetch("f0.bin")


def test_a_damaged_copy_is_brought_again(store: Store) -> None:
    """Also where this process has used it, and its size is what it was."""
    made = files(store, 1)
    counted = Counted(store)
    again = Artifact(counted, made.base, made.manifest)
    local = again.fetch("f0.bin")
    whole = local.read_bytes()
    for spoil in (lambda: local.write_bytes(bytes(SIZE)), lambda: local.write_bytes(b"torn"), local.unlink):
        spoil()
        assert again.fetch("f0.bin") == local and local.read_bytes() == whole
    assert len(counted.names) == 4


def test_a_file_that_was_used_and_then_damaged_is_refused(tmp_path: Path) -> None:
    made = files(open_store(tmp_path / "store"), 1)
    local = made.fetch("f0.bin")
    aged(local, 60)
    assert made.fetch("f0.bin") == local, "read once more and then believed"
    for damage in (bytes(SIZE), b"torn"):
        local.write_bytes(damage)
        with pytest.raises(UserError, match="the file is damaged: expected sha256"):
            made.fetch("f0.bin")


def test_what_was_just_uploaded_is_not_downloaded(store: Store, tmp_path: Path) -> None:
    made = files(store, 1)
    record = made.files("f0.bin")[0]
    (tmp_path / "f0").write_bytes(store.read(f"{made.base}/{record.path}"))
    keep(store, made.base, record, tmp_path / "f0")
    (tmp_path / "f0").unlink()
    counted = Counted(store)
    path = Artifact(counted, made.base, made.manifest).fetch(record)
    assert counted.names == [] and sha256_file(path) == record.sha256


def test_nothing_is_kept_that_is_not_what_was_uploaded(store: Store, tmp_path: Path) -> None:
    made = files(store, 1)
    (tmp_path / "f0").write_bytes(bytes(SIZE))
    with pytest.raises(UserError, match=f"{tmp_path}/f0: changed while it was uploaded as data/f0-.*run the stage"):
        keep(store, made.base, made.files("f0.bin")[0], tmp_path / "f0")
    assert held() == {}


def test_of_a_local_store_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTAFLOW_CACHE", str(tmp_path / "cache"))
    made = files(open_store(tmp_path / "store"), 1)
    keep(made.store, made.base, made.files("f0.bin")[0], tmp_path / "absent")
    assert copies() == []


_LOOK = """
import sys
from infra.artifact import Artifact, cache, stamps
from infra.store import open_store
def read(path): raise SystemExit(f"{path} is read again")
stamps.sha256_file = cache.sha256_file = read
made = Artifact.find(open_store("."), sys.argv[1])
print(made.fetch("f0.bin"))
"""


@pytest.mark.parametrize("is_local", [True, False])
def test_what_one_process_has_checked_the_next_one_need_not_read(store: Store, tmp_path: Path, is_local: bool) -> None:
    made = files(open_store(tmp_path / "store") if is_local else store, 1)
    if is_local:
        aged(tmp_path / "store" / made.base / made.files("f0.bin")[0].path, 60)
    local = made.fetch("f0.bin")
    command = [sys.executable, "-c", _LOOK, made.uri]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (run.returncode, run.stdout.strip()) == (0, str(local)), run.stderr
