"""Folders of models to do bad things to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path


def copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "model"))


def edit(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
