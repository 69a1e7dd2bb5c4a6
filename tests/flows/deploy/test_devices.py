"""A device belongs to one worker of a machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.deploy.devices import VISIBLE, owned
from infra.errors import UserError


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv(VISIBLE, "7")


def test_a_worker_and_its_children_see_its_devices_alone() -> None:
    with owned("0,2"):
        code = f"import os; print(os.environ[{VISIBLE!r}])"
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert told.stdout == "0,2\n"
    assert os.environ[VISIBLE] == "7"
    with owned(""):
        assert os.environ[VISIBLE] == "", "the CPU is the CPU"


_OWNER = """
import sys
from flows.deploy.devices import owned
with owned("1,2"):
    print("up", flush=True)
    sys.stdin.read()
"""


def test_two_workers_share_none_and_a_dead_one_holds_none() -> None:
    other = subprocess.Popen([sys.executable, "-c", _OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline() == "up\n"
        with pytest.raises(UserError, match=rf"device 2: process {other.pid} on this machine owns it"):
            with owned("0,2"):
                raise AssertionError("it is taken")
        with owned("0"):
            pass
    finally:
        other.kill()
        other.communicate()
    with owned("0,1,2"):
        pass
