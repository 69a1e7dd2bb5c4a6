"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from infra.environment import environment


def machine() -> dict[str, str]:
    """The machine, the versions, and how busy it was."""
    found = environment()
    return {
        "CPU": f"{_cpu()}, {_usable_cores()} of {os.cpu_count()} logical cores",
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "commit": found.get("git_commit", "none"),
        "load": _load(),
    }


def _cpu() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _usable_cores() -> int:
    # a container may see more cores than it may use
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _load() -> str:
    if not hasattr(os, "getloadavg"):
        return "unknown"
    one, five, _ = os.getloadavg()
    return f"{one:.1f} over the last minute, {five:.1f} over five: above about 0.5 something else is running too"
