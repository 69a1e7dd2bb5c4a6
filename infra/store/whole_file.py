"""A local file that is whole or not there, whatever kills the writer."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

TEMPORARY = ".tmp-"
"""How the names of files that are being written begin."""
Put: TypeAlias = Callable[[Path, Path], object]
"""Gives a temporary file its name: os.replace, or os.link to create."""


def whole(target: Path, fill: Callable[[Path], object], put: Put | None = None, *, synced: bool = True) -> None:
    """Let `fill` write a file beside the target, sync it, and only then give it its name. Raises OSError.

    One that is not `synced` is whole after any death of the process, and may be torn after a power loss.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    try:
        fill(temporary)
        if synced:
            _sync(temporary)
        (put or os.replace)(temporary, target)
        if synced:
            _sync(target.parent)  # else a power loss may forget the new name
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
