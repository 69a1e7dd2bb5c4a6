"""Runs a command for as long as the process that started it lives: `python -m flows.server.guard COMMAND ...`.

A command line that is killed with -9 cannot stop its server; this can.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from types import FrameType

_LOOK_EVERY_S = 0.25
_GRACE_S = 10.0


def guard(command: list[str]) -> int:
    """The command's exit code. Ends it when the parent process is gone or on SIGTERM."""
    parent = os.getppid()
    stopping = False

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    child = subprocess.Popen(command)
    while child.poll() is None and not stopping and os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    return _end(child)


def _end(child: subprocess.Popen[bytes]) -> int:
    if child.poll() is None:
        child.terminate()
    try:
        return child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1:]))
