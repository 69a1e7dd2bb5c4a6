"""What a result was made with is told without importing any of it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from infra.environment import environment, user, utc_now
from tests import ROOT


def test_versions_host_and_commit_are_those_that_are_there() -> None:
    found = environment()
    assert found["python"] == platform.python_version() and found["host"] == platform.node()
    for package in ("torch", "diffusers", "pyarrow", "open_clip_torch"):
        assert found[package] == importlib.metadata.version(package)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.get("git_commit") == (head.stdout.strip() if head.returncode == 0 else None)
    assert all(isinstance(value, str) and value for value in found.values())


def test_it_is_the_callers_own() -> None:
    environment()["python"] = "changed"
    assert environment()["python"] == platform.python_version()


def test_an_account_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    assert user() == "ada"
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)  # as in a container that is started for any user
    assert user() is None


def test_the_time_is_utc_to_the_millisecond() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    text = utc_now()
    assert before <= datetime.fromisoformat(text) <= datetime.now(UTC)
    assert text.endswith("+00:00") and len(text) == len("2026-01-02T03:04:05.678+00:00")
