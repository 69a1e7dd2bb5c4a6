"""Nothing a test does touches the user's home, store or Prefect server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.server.local import Endpoint, local_server, open_door
from tests.s3 import S3Server, moto_server, rclone_server

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests share the cores; set before torch is imported
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
for _name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_PROFILE", "INSTAFLOW_STORE"):
    os.environ.pop(_name, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules with slow tests come first: at the end of a run with several workers none waits long for another."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("INSTAFLOW_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for all tests of a session: its first migration takes ten seconds."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="module")
def standing_server(prefect_home: Path) -> Iterator[Endpoint]:
    """One that all runs of a module find, as those beside an `instaflow server` do: each would start its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(prefect_home))
        with local_server() as endpoint, open_door(endpoint):
            yield endpoint


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server that checks keys and knows no create-once."""
    # A folder that one run emptied while another wrote into it is "gone" for as long as rclone believes its cache.
    with rclone_server(tmp_path_factory.mktemp("rclone") / "served", "--dir-cache-time=1s") as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    """An S3 server that honours create-once."""
    with moto_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _isolated(prefect_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(prefect_home))
