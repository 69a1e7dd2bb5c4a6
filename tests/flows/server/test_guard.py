"""A command lives no longer than the process that asked for it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests import ROOT

GUARD = [sys.executable, "-m", "flows.server.guard"]
SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]


def _guarded(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*GUARD, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("code", [0, 3])
def test_it_ends_as_the_command_does(code: int) -> None:
    assert _guarded(sys.executable, "-c", f"raise SystemExit({code})").wait(30) == code


def test_sigterm_ends_the_command() -> None:
    with _guarded(*SLEEP) as guard:
        assert _said(guard) == "up"
        (command,) = psutil.Process(guard.pid).children()
        guard.send_signal(signal.SIGTERM)
        assert guard.wait(30) == 256 - signal.SIGTERM, "the command's exit code, as far as one can be"
        assert not psutil.wait_procs([command], timeout=5)[1]


def test_a_command_whose_asker_was_killed_ends(tmp_path: Path) -> None:
    """kill -9 of the asker, which can tell nobody."""
    asker = f"import subprocess, time; subprocess.Popen({[*GUARD, *SLEEP]!r}); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", asker], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert _said(process) == "up"
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) == 2, "the guard and the command"
    process.kill()
    process.wait()
    assert not psutil.wait_procs(family, timeout=15)[1]
