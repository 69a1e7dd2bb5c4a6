"""What a result was made with: recorded in manifests and run records, never hashed."""

from __future__ import annotations

import functools
import getpass
import importlib.metadata
import platform
import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path

_PACKAGES = (
    "torch", "torchvision", "diffusers", "transformers", "numpy", "safetensors", "pyarrow", "fsspec", "s3fs",
    "prefect", "lpips", "open_clip_torch", "torch-fidelity", "datasketch",
)  # fmt: skip


@functools.cache
def _environment() -> tuple[tuple[str, str], ...]:
    found = {
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "platform": platform.platform(),
    }
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    commit = _git_commit()
    return tuple(found.items()) + ((("git_commit", commit),) if commit else ())


def _git_commit() -> str | None:
    command = ["git", "rev-parse", "--verify", "--quiet", "HEAD"]
    try:
        run = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def environment() -> dict[str, str]:
    """Versions of what matters, host, platform and git commit, read without importing any of the packages."""
    return dict(_environment())


def user() -> str | None:
    """The account's name; None where it has none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # KeyError before Python 3.13
        return None


def utc_now() -> str:
    """The time now as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
