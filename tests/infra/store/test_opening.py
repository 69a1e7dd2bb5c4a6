"""A URL names a store; keys in it are refused and not repeated."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from infra.errors import UserError
from infra.store import Store, open_store
from infra.store.local import LocalStore


def test_the_url_opens_the_same_store(store: Store) -> None:
    store.write("a", b"1")
    assert open_store(store.url).read("a") == b"1"
    assert pickle.loads(pickle.dumps(store)).read("a") == b"1"


def test_file_url_is_local(tmp_path: Path) -> None:
    found = open_store(f"file://{tmp_path}")
    assert isinstance(found, LocalStore) and found.local_path("a") == tmp_path / "a"
    assert open_store("memory://x").local_path("a") is None


@pytest.mark.parametrize("protocol", ["s3", "gs", "https"])
def test_credentials_are_refused_and_not_repeated(protocol: str) -> None:
    with pytest.raises(UserError) as caught:
        open_store(f"{protocol}://key:hunter2@bucket/path?token=hunter2")
    assert "hunter2" not in str(caught.value) and "bucket/path" in str(caught.value)


@pytest.mark.parametrize(
    "url", ["s3://bucket/path?sig=hunter2", "file:///path?sig=hunter2", "s3://hunter2@bucket", "s3://k:hunter2/@bucket"]
)
def test_a_signature_or_a_key_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UserError, match="the URL carries") as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("protocol", ["gs", "abfs", "sftp", "webdav", "ftp", "https", "hf", "nosuch"])
def test_a_protocol_that_the_suite_does_not_run_on_is_refused_by_name(protocol: str) -> None:
    with pytest.raises(UserError, match=rf"store {protocol}://\.\.\.: expected .* s3://.*rclone serve s3"):
        open_store(f"{protocol}://bucket/path")
