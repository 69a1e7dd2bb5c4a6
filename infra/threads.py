"""How long threads that compute wait awake for one another, so that the machine can also be used for something else.

OpenMP's threads spin while they wait. With as many threads as cores and one other busy process, each spins away time
that another needs to get to the same point, and a training falls to a ninth of its speed and below. To sleep at once
(OMP_WAIT_POLICY=PASSIVE) costs an idle machine half of its speed, for waking takes longer than most waits. A short spin
serves both (`make bench`, row "training beside a busy process"). Has to be set before torch is imported, which reads it
once.
"""

from __future__ import annotations

import os

SPINS = "GOMP_SPINCOUNT"
_SHORT = "6000"  # of libgomp's 300,000; measured from 0 to 30,000 on two cores, alone and beside a busy process
_USERS = (SPINS, "OMP_WAIT_POLICY", "KMP_BLOCKTIME")


def wait_briefly() -> None:
    """Let OpenMP's threads spin briefly, then sleep, in this process and its children; a user's own setting wins."""
    if not any(name in os.environ for name in _USERS):
        os.environ[SPINS] = _SHORT
