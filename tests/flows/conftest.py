"""The command line over small stages, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SMALL_STAGES = Path(__file__).with_name("small_stages.py")
Cli = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path, prefect_home: Path) -> Start:
    """Starts `instaflow ARGUMENTS` in `tmp_path`; keywords are added to the environment."""

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(SMALL_STAGES), *arguments],
            cwd=tmp_path,
            env=os.environ | {"SMALL_STAGES_WEIGHTS": str(tmp_path / "weights")} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def cli(start: Start) -> Cli:
    """Runs `instaflow ARGUMENTS` to its end."""

    def cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = start(*arguments, **environment)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    return cli
