"""The algorithms of this house: one file each, found by its name."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path

from flows.algorithms.algorithm import Algorithm
from infra.errors import UserError

DEFAULT = "instaflow"
_PARTS = {"__init__", "algorithm", "chain", "materials"}


def algorithms() -> list[str]:
    """The names that a recipe's `algorithm` may have."""
    return sorted({path.stem for path in Path(__file__).parent.glob("*.py")} - _PARTS)


def find_algorithm(name: object, where: str) -> Algorithm:
    """The algorithm of that name. Raises UserError with `where` it was asked for and the nearest name."""
    if name not in algorithms():
        near = difflib.get_close_matches(str(name), algorithms(), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UserError(f"{where}: algorithm: found {name!r}, expected one of {', '.join(algorithms())}.{hint}")
    found: Algorithm = importlib.import_module(f"flows.algorithms.{name}").ALGORITHM
    return found
