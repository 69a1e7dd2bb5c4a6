"""The bundled recipes, by name."""

from __future__ import annotations

import difflib
from pathlib import Path

from infra.errors import UserError

_FOLDER = Path(__file__).parent


def bundled() -> list[str]:
    """Names of the recipes that come with the project."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def recipe_path(name: str) -> Path:
    """The file of a bundled recipe or the path itself. Raises UserError with the nearest name for neither."""
    if name in bundled():
        return _FOLDER / f"{name}.yaml"
    path = Path(name).expanduser()
    if path.suffix in {".yaml", ".yml"} or "/" in name:
        return path
    near = difflib.get_close_matches(name, bundled(), n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UserError(
        f"recipe {name}: there is no such recipe."
        f" Expected one of {', '.join(bundled())} or the path of a YAML file.{hint}"
    )
