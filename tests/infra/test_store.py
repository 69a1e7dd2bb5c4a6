"""A store writes whole files or nothing and says "absent" for absence alone: local and fsspec alike."""

from __future__ import annotations

import os
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.errors import UserError
from infra.local_store import LocalStore
from infra.remote_store import RemoteStore
from infra.store import Store, StoreError
from tests.s3 import S3Server


def test_what_is_written_is_read(store: Store, tmp_path: Path) -> None:
    assert store.list() == [] and not store.exists("a/b") and store.size("a/b") is None
    store.write("a/b", b"one")
    store.write("a/b", b"two!")
    store.write("a-c", b"")
    (tmp_path / "local").write_bytes(b"x" * 100_000)
    store.upload(tmp_path / "local", "a/d/e.bin")
    store.download("a/d/e.bin", tmp_path / "back" / "e.bin")
    assert store.read("a/b") == b"two!" and (tmp_path / "back/e.bin").read_bytes() == b"x" * 100_000
    assert store.sizes() == {"a-c": 0, "a/b": 4, "a/d/e.bin": 100_000}
    assert store.list("a") == ["a/b", "a/d/e.bin"] and store.list("absent") == []
    assert store.folders() == ["a"] and store.folders("a") == ["d"] and store.folders("absent") == []
    assert store.exists("a/b") and not store.exists("a") and store.size("a-c") == 0


def test_absence(store: Store, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            store.read("absent")
        with pytest.raises(FileNotFoundError):
            store.download("absent", tmp_path / "x")
        store.delete("absent")
    assert not (tmp_path / "x").exists()


def test_delete(store: Store) -> None:
    store.write("a", b"1")
    store.delete("a")
    assert not store.exists("a")


def test_a_name_is_created_once_where_the_store_can(store: Store, request: pytest.FixtureRequest) -> None:
    assert store.create("a/b", b"first") and store.create("a/b", b"first")
    once = not store.create("a/b", b"second")
    assert once == ("rclone" not in request.node.name)
    assert store.read("a/b") == (b"first" if once else b"second")
    assert store.list() == ["a/b"]


def test_a_file_system_without_links_creates_by_replacing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    store = Store.open(tmp_path)
    assert store.create("a", b"first") and store.create("a", b"second") and store.read("a") == b"second"
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StoreError, match="No space left"):
        store.create("b", b"")
    assert store.list() == ["a"] and store.leftovers() == {}


def test_files_say_when_they_were_written(store: Store) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)  # S3 counts whole seconds
    store.write("a/b", b"1")
    (path, written), *others = store.modified("a").items()
    assert path == "a/b" and not others and before <= written <= datetime.now(UTC) + timedelta(seconds=2)


def test_what_the_standard_configuration_lacks_is_an_error_of_the_store(s3: Store, tmp_path: Path) -> None:
    absent = Store.open("s3://no-such-bucket/here")
    for ask in (absent.read, absent.exists, absent.list, absent.folders):
        with pytest.raises(StoreError, match="store s3://no-such-bucket/here: cannot read"):
            ask("a")
    with pytest.raises(StoreError, match="cannot write a"):
        absent.write("a", b"")


def test_wrong_keys_are_an_error_of_the_store(
    rclone: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {**rclone.environment(), "AWS_SECRET_ACCESS_KEY": "wrongwrong"}.items():
        monkeypatch.setenv(name, value)
    store = Store.open("s3://bucket/x")
    for ask in (store.read, store.exists, store.list, store.folders):
        with pytest.raises(StoreError, match="store s3://bucket/x: cannot read"):
            ask("a")
    with pytest.raises(StoreError) as caught:
        store.write("a", b"")
    assert "wrongwrong" not in str(caught.value) and "credentials" in str(caught.value)


def test_the_url_opens_the_same_store(store: Store) -> None:
    store.write("a", b"1")
    assert Store.open(store.url).read("a") == b"1"
    assert pickle.loads(pickle.dumps(store)).read("a") == b"1"


def test_file_url_is_local(tmp_path: Path) -> None:
    found = Store.open(f"file://{tmp_path}")
    assert isinstance(found, LocalStore) and found.local_path("a") == tmp_path / "a"
    assert Store.open("memory://x").local_path("a") is None


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../b"])
def test_paths_stay_inside(store: Store, path: str) -> None:
    with pytest.raises(AssertionError):
        store.write(path, b"")


@pytest.mark.parametrize("protocol", ["s3", "gs", "https"])
def test_credentials_are_refused_and_not_repeated(protocol: str) -> None:
    with pytest.raises(UserError) as caught:
        Store.open(f"{protocol}://key:hunter2@bucket/path?token=hunter2")
    assert "hunter2" not in str(caught.value) and "bucket/path" in str(caught.value)


def test_a_user_name_alone_is_no_credential() -> None:
    assert Store.open("ftp://someone@host/path").url == "ftp://someone@host/path"


def test_an_unknown_protocol() -> None:
    with pytest.raises(UserError, match="nosuch://x: .*[Pp]rotocol"):
        Store.open("nosuch://x")


@pytest.mark.parametrize("root", ["/proc/store", "{file}/store"])
def test_an_unwritable_store_says_so_at_the_first_write(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").write_text("")
    store = Store.open(root.format(file=tmp_path / "file"))
    with pytest.raises(StoreError, match="cannot write a/b: .*Make the folder writable"):
        store.write("a/b", b"")
    with pytest.raises(StoreError, match="cannot write a/b"):
        store.upload(tmp_path / "file", "a/b")


def test_an_error_is_no_absence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store.open(tmp_path / "file")
    for ask in (store.read, store.exists, store.size, store.list, store.folders):
        with pytest.raises(StoreError, match=f"store {tmp_path}/file: cannot read"):
            ask("a")


def test_a_remote_error_is_no_absence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = Store.open(f"memory://bucket{tmp_path}")
    assert isinstance(store, RemoteStore)

    def fail(*_: object, **__: object) -> None:
        raise PermissionError("denied")

    for name in ("cat_file", "info", "ls", "get_file", "pipe_file", "put_file", "rm_file"):
        monkeypatch.setattr(store._fs, name, fail)
    asks = [store.read, store.exists, store.size, store.list, store.folders]
    for ask in asks:
        with pytest.raises(StoreError, match="cannot read a: PermissionError: denied"):
            ask("a")
    with pytest.raises(StoreError, match="cannot write a"):
        store.write("a", b"")
    with pytest.raises(StoreError, match="cannot delete a"):
        store.delete("a")
    with pytest.raises(StoreError, match="cannot read a"):
        store.download("a", tmp_path / "x")


def test_an_error_below_the_first_level_is_no_emptiness(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = Store.open(f"memory://bucket{tmp_path}")
    assert isinstance(store, RemoteStore)
    store.write("a/b/c", b"")
    listing = store._fs.ls

    def fail_below(path: str, detail: bool = True) -> object:
        if path.endswith("/b"):
            raise PermissionError("denied")
        return listing(path, detail=detail)

    monkeypatch.setattr(store._fs, "ls", fail_below)
    with pytest.raises(StoreError):
        store.list("a")


@pytest.mark.parametrize("dies", ["replace", "fsync"])
def test_a_torn_local_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies: str) -> None:
    store = Store.open(tmp_path / "store")
    store.write("a", b"old")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, dies, die)
        store.write("a", b"new")
    assert store.read("a") == b"old" and [path.name for path in (tmp_path / "store").iterdir()] == ["a"]


def test_a_temporary_file_left_by_a_kill_is_not_listed(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.write("a", b"1")
    (tmp_path / ".tmp-0123").write_bytes(b"torn")
    assert store.list() == ["a"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path / "store")

    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(StoreError, match="No space left on device"):
        patched.setattr(Path, "write_bytes", full)
        store.write("a", b"1234")
    assert store.list() == [] and [*(tmp_path / "store").iterdir()] == []
