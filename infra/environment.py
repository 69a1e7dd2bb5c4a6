"""What a result was made with: recorded in manifests and run records, never hashed."""

from __future__ import annotations

import functools
import getpass
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path

COMMIT = "INSTAFLOW_COMMIT"
"""Variable with the git commit of a package that was installed without its repository, as in an image."""

_PACKAGES = (
    "instaflow", "torch", "torchvision", "diffusers", "transformers", "numpy", "safetensors", "pyarrow", "fsspec",
    "s3fs", "prefect", "lpips", "open_clip_torch", "torch-fidelity", "datasketch",
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
    """Of the repository this file is of; else of the one it was installed from, or what the image was told."""
    return _checked_out(Path(__file__).resolve().parents[1]) or _installed_from() or os.environ.get(COMMIT)


def _checked_out(root: Path) -> str | None:
    command = ["git", "rev-parse", "--verify", "--quiet", "HEAD"]
    if not (root / ".git").exists():  # an installed package may lie within somebody's repository
        return None
    try:
        run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def _installed_from() -> str | None:
    """The commit that pip notes of a package it installed out of a repository."""
    try:
        noted = importlib.metadata.distribution("instaflow").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return None
    return json.loads(noted).get("vcs_info", {}).get("commit_id") if noted else None


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
