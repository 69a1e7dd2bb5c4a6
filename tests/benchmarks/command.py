"""Running the project's own command line as a user does, in a process of its own, on the clock."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

from infra.errors import UserError
from tests import ROOT


def timed_instaflow(arguments: Sequence[str]) -> float:
    """Wall time of `instaflow ARGUMENTS`, s. Raises UserError with its message when it fails."""
    return timed("flows.cli", arguments)


def timed(module: str, arguments: Sequence[str]) -> float:
    """Wall time of `python -m MODULE ARGUMENTS`, s. Raises UserError with its message when it fails."""
    started = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise UserError(f"{module} {' '.join(arguments)} failed: {run.stderr.strip()[-500:]}")
    return time.monotonic() - started
