"""The cache: within its limit, least recently used first, shared by processes, and nothing unverified in it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from infra import cache, shard_maps
from infra.artifact import Artifact, Draft
from infra.cache import cache_folder, cache_limit_bytes
from infra.environment import utc_now
from infra.errors import UserError
from infra.fingerprint import fingerprint, sha256_file
from infra.pairs import PairDataset
from infra.remote_store import RemoteStore
from infra.store import Store
from infra.whole_file import TEMPORARY
from tests.infra.small_pairs import commit, sample, shards
from tests.s3 import ROOT

STORES = ("rclone",)
SIZE = 10_000


class Counted(RemoteStore):
    """A real remote store that keeps a list of what was downloaded, and spoils the first downloads."""

    def __init__(self, store: Store, spoil: int = 0) -> None:
        super().__init__(store.url)
        self.names: list[str] = []
        self.spoil = spoil

    def download(self, path: str, local: Path) -> None:
        self.names.append(Path(path).name)
        super().download(path, local)
        if len(self.names) <= self.spoil:
            local.write_bytes(local.read_bytes()[:-1])


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
        made = draft.finish(1, {}, {}, {}, {}, utc_now())
    cache._verified.clear()
    return made


def held() -> dict[str, Path]:
    """What the cache has, by the first part of the name."""
    return {path.name.partition("-")[0]: path for path, _ in cache._held()}


def aged(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_the_least_recently_used_go_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = files(store, 5)
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", str(3 * SIZE))
    for number in range(3):
        aged(made.fetch(f"f{number}.bin"), 100 - number)
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
    sizes = [info.st_size for _, info in cache._held()]
    assert sum(sizes) <= 100_000 and len(sizes) >= 5


def test_a_file_larger_than_the_limit_is_given(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = files(store, 2)
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", "1")
    for name in ("f0.bin", "f1.bin"):
        assert made.fetch(name).stat().st_size == SIZE
    assert {*held()} == {"f1"}
    with pytest.raises(UserError, match="model takes 20000 bytes, more than the cache may hold.* Raise INSTAFLOW"):
        made.folder("model")


def test_arriving_files_stay_and_abandoned_ones_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = files(store, 2)
    folder = made.fetch("f0.bin").parent
    old, new = (folder / f"{TEMPORARY}{name}" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(bytes(SIZE))
    aged(old, 2 * cache._ABANDONED_S)
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", "1")
    made.fetch("f1.bin")
    assert new.exists() and not old.exists()


_FETCH = """
import sys
from infra.artifact import Artifact
from infra.fingerprint import sha256_file
from infra.remote_store import RemoteStore
from infra.store import Store
real, downloads = RemoteStore.download, []
RemoteStore.download = lambda self, path, local: (downloads.append(path), real(self, path, local))[1]
made = Artifact.find(Store.open("."), sys.argv[1])
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
    lock = cache_folder() / cache._LOCKS / made.files("f0.bin")[0].sha256[:2]
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


@pytest.mark.parametrize(("text", "size"), [("200GB", 200 * 10**9), ("1.5 GiB", 3 * 2**29), ("5000", 5000)])
def test_the_limit_is_a_size(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", text)
    assert cache_limit_bytes() == size


def test_a_limit_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTAFLOW_CACHE", str(tmp_path / "nothing" / "yet"))
    assert 0 < cache_limit_bytes() < shutil.disk_usage(tmp_path).free
    for text in ("much", "-1", "10 cows"):
        monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", text)
        with pytest.raises(UserError, match=f"INSTAFLOW_CACHE_BYTES={text}: expected a size, for instance 200GB"):
            cache_limit_bytes()


def test_pairs_that_do_not_fit_are_read_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = commit(store, shards([4] * 6))
    size = made.files("shard-000000.tar")[0].bytes
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", str(2 * size))
    data = PairDataset(made)
    assert "downloaded again and again. Raise INSTAFLOW_CACHE_BYTES" in caplog.text.replace("\n", " ")
    order = np.random.default_rng(0).permutation(24)
    for ids in order.reshape(6, 4):
        noise, _, prompts = data.batch(ids)
        np.testing.assert_array_equal(noise.numpy(), np.stack([sample(int(one)).noise for one in ids]))
        assert sum(info.st_size for _, info in cache._held()) <= 2 * size
        assert data._shards._mapped_bytes <= 2 * size


def test_shards_come_ahead_in_the_order_of_need(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_maps, "_DOWNLOADS", 1)
    made = commit(store, shards([3] * 5))
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", str(sum(file.bytes for file in made.files()) + 1))
    counted = Counted(store)
    data = PairDataset(Artifact(counted, made.base, made.manifest))
    data.prefetch(np.array([7, 13, 6, 2, 12, 10, 3]))
    (thread,) = [one for one in threading.enumerate() if one.name.endswith("(_download)")]
    thread.join(30)
    assert [name[:12] for name in counted.names[1:]] == [f"shard-{number:06d}" for number in (2, 4, 0, 3, 1)]
    noise, _, _ = data.batch(np.arange(15))
    assert len(counted.names) == 6
    np.testing.assert_array_equal(noise.numpy(), np.stack([sample(index).noise for index in range(15)]))


def test_no_more_comes_ahead_than_the_cache_holds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = commit(store, shards([3] * 5))
    size = made.files("shard-000000.tar")[0].bytes
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", str(2 * size))
    counted = Counted(store)
    data = PairDataset(Artifact(counted, made.base, made.manifest))
    data.prefetch(np.arange(15))
    for thread in [one for one in threading.enumerate() if one.name.endswith("(_download)")]:
        thread.join(30)
    assert sorted(name[:12] for name in counted.names[1:]) == ["shard-000000", "shard-000001"]


def test_what_a_long_training_reads_counts_as_used(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    data = PairDataset(commit(store, shards([2, 2])))
    data.batch(np.arange(4))
    for path in held().values():
        aged(path, 1000)
    monkeypatch.setattr(shard_maps, "_TOUCH_S", -1.0)
    data.batch(np.array([0]))
    ages = {name: time.time() - path.stat().st_mtime for name, path in held().items()}
    assert ages["shard"] < 500 < ages["index"]
