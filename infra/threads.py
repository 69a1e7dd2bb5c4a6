"""How threads that compute wait for one another: asleep, so that the machine can also be used for something else.

OpenMP's threads spin while they wait. With as many threads as cores and one other busy process, each spins away time
that another needs to get to the same point: a training falls to a tenth of its speed and below (`make bench` measures
it). Has to be called before torch is imported, which reads the setting once.
"""

from __future__ import annotations

import os

POLICY = "OMP_WAIT_POLICY"
_USERS = (POLICY, "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def wait_asleep() -> None:
    """Let OpenMP's threads sleep while they wait, in this process and its children; a user's own setting wins."""
    if not any(name in os.environ for name in _USERS):
        os.environ[POLICY] = "PASSIVE"
