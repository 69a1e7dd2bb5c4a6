"""The test suite, from outside."""

from __future__ import annotations

import subprocess
import time

from tests.benchmarks.command import ROOT
from tests.benchmarks.row import Options, Row, duration, not_measured

NAME, LIMIT_S = "test suite", 900.0


def measure(options: Options) -> list[Row]:
    """Time `make test` if asked to; a failing suite misses its target whatever its time."""
    target = f"at most {duration(LIMIT_S)}"
    if not options.tests:
        return [not_measured(NAME, target, "ask for it with --tests")]
    started = time.monotonic()
    command = ["make", "--no-print-directory", "test", "PYTEST_ARGS=-q"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    last = (run.stdout.strip().splitlines() or [run.stderr.strip()[-200:]])[-1]
    return [Row(NAME, duration(seconds), target, seconds <= LIMIT_S and run.returncode == 0, last)]
