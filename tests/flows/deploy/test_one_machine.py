"""`instaflow up` is in tests/workers, with its workers; here is what it says when something is amiss."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from flows.deploy.one_machine import _locked, hold, start, stop
from flows.deploy.pools import read_pools
from infra.errors import UserError


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))


def test_what_is_not_up_is_not_stopped(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing is up"):
        stop()
    (tmp_path / "up.json").write_text(json.dumps({"pid": os.getpid(), "url": "http://127.0.0.1:9"}))
    with pytest.raises(UserError, match="nothing is up"):  # of yesterday: nobody holds its lock
        stop()


def test_it_says_why_it_did_not_come_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(UserError, match=rf"the end of {tmp_path}/up\.log:\n.*9/api: no server answers there"):
        start(None, 0)


def test_it_is_up_once() -> None:
    with _locked():
        with pytest.raises(UserError, match=rf"it is up already: .*{os.getpid()}"):
            hold(read_pools(), 0)
