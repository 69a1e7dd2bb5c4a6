"""What open_clip knows by name: looked up in its folder, without importing it."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
from pathlib import Path


@functools.cache
def architectures() -> dict[str, Path]:
    """open_clip's architectures and their files. Raises ValueError where open_clip is not installed."""
    package = importlib.util.find_spec("open_clip")
    if package is None or not package.submodule_search_locations:
        raise ValueError("open_clip is not installed; install the package open_clip_torch")
    folder = Path(package.submodule_search_locations[0]) / "model_configs"
    return {path.stem: path for path in sorted(folder.glob("*.json"))}


def check_architecture(name: str) -> None:
    """Raise ValueError for a name that open_clip does not know, with the names nearest to it."""
    if name in architectures():
        return
    spelt = {known.lower(): known for known in architectures()}
    near = [spelt[known] for known in difflib.get_close_matches(name.lower(), spelt, n=3)]
    raise ValueError(f"clip architecture {name!r}: open_clip has no such one; nearest: {', '.join(near) or 'none'}")


def picture_size(name: str) -> int | tuple[int, int]:
    """Pixels per side that an architecture takes, or (height, width). Raises ValueError for an unknown name."""
    check_architecture(name)
    size = json.loads(architectures()[name].read_text(encoding="utf-8"))["vision_cfg"].get("image_size", 224)
    return tuple(size) if isinstance(size, list) else int(size)
