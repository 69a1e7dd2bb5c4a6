"""Whether a time was measured beside other work: what other processes used of the machine meanwhile.

Another process takes cores, caches and memory from the one that is measured: the time is then less the model's than the
machine's. What others do on a GPU is not seen.
"""

import time

import psutil
import torch
from pydantic import JsonValue
from torch import Tensor

DISTURBED = 0.1
"""The share of the machine's cores from which on others disturb: a server that waits uses less."""

_IDLE = ("idle", "iowait", "guest", "guest_nice")  # a guest's time is in `user` as well


class Others:
    """What other processes use of the machine's cores, from the making of this on."""

    def __init__(self) -> None:
        self._started_s, self._others_s = time.monotonic(), _others_s()

    def load(self) -> Tensor:
        """How many cores were busy with others on average, of how many: [2], float64."""
        elapsed_s = max(time.monotonic() - self._started_s, 1e-3)
        used = max(_others_s() - self._others_s, 0.0) / elapsed_s
        return torch.tensor([used, psutil.cpu_count() or 1], dtype=torch.float64)


def told(load: Tensor) -> dict[str, JsonValue]:
    """What the protocol says of the load that times were measured under."""
    used, cores = load.tolist()
    return {"used_by_others": round(used, 2), "cores": round(cores), "disturbed": used > DISTURBED * cores}


def _others_s() -> float:
    """Seconds of work of all cores since the machine was started, but for this process's own."""
    spent, own = psutil.cpu_times()._asdict(), psutil.Process().cpu_times()
    busy = sum(spent.values()) - sum(spent.get(name, 0.0) for name in _IDLE)
    return float(busy - own.user - own.system)
