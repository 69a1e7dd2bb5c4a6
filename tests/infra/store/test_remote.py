"""A remote store: whatever fails is an error of the store, never an absence."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import UserError
from infra.store import Store, StoreError, open_store
from infra.store.remote import RemoteStore
from tests.s3 import S3Server


def test_what_the_standard_configuration_lacks_is_an_error_of_the_store(s3: Store, tmp_path: Path) -> None:
    absent = open_store("s3://no-such-bucket/here")
    for ask in (absent.read, absent.exists, absent.list, absent.folders):
        with pytest.raises(StoreError, match="store s3://no-such-bucket/here: cannot read"):
            ask("a")
    with pytest.raises(StoreError, match="cannot write a"):
        absent.write("a", b"")


@pytest.mark.parametrize("endpoint", ["http://me:hunter2@127.0.0.1:9", "http://127.0.0.1:9/?sig=hunter2"])
def test_a_secret_in_the_address_of_the_server_is_refused(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in S3Server(endpoint, creates_once=False).environment().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"^AWS_ENDPOINT_URL http://127\.0\.0\.1:9/?: the URL carries") as caught:
        open_store("s3://bucket/path").list()
    assert "hunter2" not in str(caught.value)


def test_wrong_keys_are_an_error_of_the_store(
    rclone: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {**rclone.environment(), "AWS_SECRET_ACCESS_KEY": "wrongwrong"}.items():
        monkeypatch.setenv(name, value)
    store = open_store("s3://bucket/x")
    for ask in (store.read, store.exists, store.list, store.folders):
        with pytest.raises(StoreError, match="store s3://bucket/x: cannot read"):
            ask("a")
    with pytest.raises(StoreError) as caught:
        store.write("a", b"")
    assert "wrongwrong" not in str(caught.value) and "credentials" in str(caught.value)


def test_a_remote_error_is_no_absence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = open_store(f"memory://bucket{tmp_path}")
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
    store = open_store(f"memory://bucket{tmp_path}")
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
