"""A process dies or stops at the points that its environment names, and nowhere else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests import ROOT

_WALK = """
from infra.artifact.killpoint import reached
for point in (("pairs", "unit", "shard-000000"), ("pairs", "unit", "shard-000001"), ("pairs", "manifest")):
    reached(*point)
    print(":".join(point), flush=True)
"""


def walk(**environment: str) -> subprocess.Popen[str]:
    """A process that goes from point to point and says where it has been."""
    command = [sys.executable, "-c", _WALK]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("named", "passed"),
    [
        ("pairs:unit:shard-000000", 0),
        ("pairs:unit:shard-000001", 1),
        ("reflow:manifest,pairs:manifest", 2),
        ("pairs:unit", 3),
        ("pairs:unit:shard", 3),
        ("", 3),
    ],
)
def test_it_dies_there_and_nowhere_else(named: str, passed: int) -> None:
    process = walk(INSTAFLOW_KILL_AT=named)
    told = process.communicate(timeout=60)[0].split()
    assert len(told) == passed and process.returncode == (0 if passed == 3 else -signal.SIGKILL)


def test_it_stops_there_until_it_is_told_to_go_on() -> None:
    process = walk(INSTAFLOW_STOP_AT="pairs:manifest")
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGSTOP
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=60)[0].split()[-1] == "pairs:manifest" and process.returncode == 0
    finally:
        process.kill()
