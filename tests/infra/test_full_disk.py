"""A disk that is full or must not be written, and keys that must not be told: nothing torn, nothing leaked."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.artifact import Artifact, ArtifactMissing, Draft, room
from infra.artifact.cache_folder import cache_folder
from infra.environment import utc_now
from infra.store import StoreError, open_store
from tests.infra.counted import copies
from tests.infra.small_artifact import PRINT, UNITS, commit, make
from tests.s3 import BUCKET, S3Server

NOBODY = 65534


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes: the kernel refuses, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def unprivileged() -> Iterator[None]:
    """Permissions bind, also where the tests are run by root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that anyone may enter, unlike `tmp_path`."""
    folder = Path(tempfile.mkdtemp(prefix="instaflow-test-"))
    folder.chmod(0o755)
    yield folder
    allow(folder, 0o755)
    shutil.rmtree(folder)


def allow(folder: Path, mode: int) -> None:
    """Set the mode of every folder, from the top."""
    folder.chmod(mode | 0o700)
    for inner in folder.iterdir():
        if inner.is_dir():
            allow(inner, mode)
    folder.chmod(mode)


def test_a_full_disk_commits_nothing_torn_and_room_mends_it(tmp_path: Path) -> None:
    undisturbed = make(open_store(tmp_path / "undisturbed"))
    store = open_store(tmp_path / "store")
    with Draft(store, "pairs", PRINT) as draft:
        commit(draft, UNITS[0], 1.0)
        kept = store.sizes()
        (draft.workdir / "shard").write_bytes(UNITS[1].encode() * 1000)
        for limit in (0, 1, 511, 512, 11_999):
            with files_end_at(limit), pytest.raises(StoreError, match="cannot write .*File too large.*disk has room"):
                draft.commit_unit(UNITS[1], {f"{UNITS[1]}.tar": draft.workdir / "shard"})
            with files_end_at(limit), pytest.raises(StoreError, match="cannot write .*manifest.json: File too large"):
                draft.finish(UNITS[:1], 1, {"steps": 25, "text": "x" * 12_000}, {}, {}, {}, utc_now())
        assert store.sizes() == kept and store.leftovers() == {}
    with pytest.raises(ArtifactMissing):
        Artifact.open(store, "pairs", PRINT)
    assert make(store).digest == undisturbed.digest


def test_a_full_disk_spoils_no_cache(rclone: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**rclone.environment(), "INSTAFLOW_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    made = make(open_store(f"s3://{BUCKET}/{uuid.uuid4().hex}"))
    for limit in (0, 6_000):
        with files_end_at(limit), pytest.raises(StoreError, match="File too large.*Make room.*INSTAFLOW_CACHE"):
            made.fetch("shard-000000.tar")
    assert copies() == [] and [*(cache_folder() / room._ARRIVING).iterdir()] == []
    assert made.fetch("shard-000000.tar").read_bytes() == b"shard-000000" * 1000


def test_a_store_that_may_only_be_read(open_folder: Path) -> None:
    made = make(open_store(open_folder / "store"))
    before = made.store.sizes()
    allow(open_folder / "store", 0o555)
    with unprivileged():
        assert Artifact.open(made.store, "pairs", PRINT).digest == made.digest
        draft = Draft(made.store, "pairs", PRINT)
        assert [*draft.units()] == sorted(UNITS)
        assert draft.finish(UNITS, 1, {}, {}, {}, {}, utc_now()).digest == made.digest, "there is nothing to write"
        with pytest.raises(StoreError, match="cannot write .*Permission denied.*Make the folder writable"):
            commit(Draft(made.store, "reflow", PRINT), UNITS[0], 1.0)
        with pytest.raises(StoreError, match="cannot delete"):
            made.store.delete(f"{made.base}/manifest.json")
    assert made.store.sizes() == before


def test_a_store_that_may_not_even_be_read_is_no_empty_one(open_folder: Path) -> None:
    made = make(open_store(open_folder / "store"))
    (open_folder / "store" / made.base).chmod(0o000)
    with unprivileged():
        for ask in (lambda: Artifact.open(made.store, "pairs", PRINT), Draft(made.store, "pairs", PRINT).units):
            with pytest.raises(StoreError, match="cannot read .*Permission denied"):
                ask()


def test_keys_are_nowhere(
    rclone: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "infra")
    keys = rclone.environment()
    for name, value in {**keys, "INSTAFLOW_CACHE": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    store = open_store(f"s3://{BUCKET}/{uuid.uuid4().hex}")
    make(store)
    written = b"".join(store.read(path) for path in store.list()) + caplog.text.encode()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert keys[name].encode() not in written
