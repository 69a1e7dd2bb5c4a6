"""What this process computes on, told without importing anything: a cached stage has no torch."""

from __future__ import annotations

import sys
from typing import Any


def cuda() -> Any:
    """The module torch.cuda if torch was imported and there is a GPU, else None."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def device_used() -> str:
    """The name of the GPU, if memory of it has been used since the stage began; else CPU."""
    found = cuda()
    return found.get_device_name() if found and found.max_memory_allocated() else "CPU"
