"""The same promises from every kind of store: a folder, memory, and two real S3 servers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.store import Store, open_store
from tests.faults import FaultyProxy
from tests.infra.reaching import use
from tests.s3 import BUCKET, S3Server

KINDS = ("local", "memory", "rclone", "moto")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of a store is run on every kind, or on those that its module names in `STORES`."""
    if "store" in metafunc.fixturenames:
        metafunc.parametrize("store", getattr(metafunc.module, "STORES", KINDS), indirect=True)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store, and an empty cache for what is read from it."""
    monkeypatch.setenv("INSTAFLOW_CACHE", str(tmp_path / "cache"))
    if request.param == "local":
        return open_store(tmp_path / "store")
    if request.param == "memory":
        return open_store(f"memory://bucket{tmp_path}")
    return _on(request.getfixturevalue(request.param), monkeypatch)


@pytest.fixture(params=["rclone", "moto"])
def s3(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store on a real S3 server."""
    monkeypatch.setenv("INSTAFLOW_CACHE", str(tmp_path / "cache"))
    return _on(request.getfixturevalue(request.param), monkeypatch)


def _on(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return open_store(f"s3://{BUCKET}/{uuid.uuid4().hex}")


@pytest.fixture
def proxy(rclone: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy before a real S3 server; stores opened from now on go through it."""
    with FaultyProxy(rclone.endpoint) as found:
        use(rclone, found.endpoint, monkeypatch, tmp_path)
        yield found
