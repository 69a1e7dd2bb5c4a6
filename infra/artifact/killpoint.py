"""The steps of the commit protocol by name, so that a test can kill or stop a real process at each of them."""

from __future__ import annotations

import os
import signal

_SIGNALS = {"INSTAFLOW_KILL_AT": signal.SIGKILL, "INSTAFLOW_STOP_AT": signal.SIGSTOP}


def reached(*point: str) -> None:
    """Die (or stop) here if a test's environment names this point, `stage:step` or `stage:step:item`.

    The variables hold points with a comma between them: `reflow:manifest,pairs:unit:shard-000001`.
    """
    for variable, sent in _SIGNALS.items():
        named = os.environ.get(variable)
        if named and ":".join(point) in named.split(","):
            os.kill(os.getpid(), sent)
