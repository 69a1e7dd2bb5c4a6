"""What this process computes on, told without importing anything: a cached stage has no torch."""

from __future__ import annotations

import sys
from typing import Any


def cuda() -> Any:
    """The module torch.cuda if torch was imported and there is a GPU, else None."""
    torch = sys.modules.get("torch")
    found = getattr(torch, "cuda", None)  # not yet there while another thread imports torch
    is_available = getattr(found, "is_available", None)
    return found if is_available is not None and is_available() else None


def device_used() -> str:
    """The name of the GPU, if memory of it has been used since the stage began; else CPU."""
    found = cuda()
    return found.get_device_name() if found and found.max_memory_allocated() else "CPU"
