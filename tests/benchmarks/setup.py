"""Set-up: a fresh clone and a fresh virtual environment, through `make install`."""

from __future__ import annotations

import subprocess
import tempfile
import time

from infra.errors import UserError
from tests import ROOT
from tests.benchmarks.row import Options, Row, at_most, duration, not_measured

NAME, LIMIT_S = "set-up (clone, make install)", 240.0


def measure(options: Options) -> list[Row]:
    """Time it if asked to: it downloads and unpacks gigabytes."""
    if not options.setup:
        return [not_measured(NAME, f"at most {duration(LIMIT_S)}", "ask for it with --setup")]
    with tempfile.TemporaryDirectory(prefix="instaflow-bench-") as folder:
        started = time.monotonic()
        _call("git", "clone", "--quiet", str(ROOT), folder)
        _call("make", "--silent", "-C", folder, "install")
        return [at_most(NAME, time.monotonic() - started, LIMIT_S, "of the last commit; pip's cache as it was")]


def _call(*command: str) -> None:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise UserError(f"{' '.join(command)} failed: {run.stderr.strip()[-500:]}")
