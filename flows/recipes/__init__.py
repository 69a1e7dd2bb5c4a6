"""The bundled recipes by name, and reading any recipe as its algorithm wants it."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.algorithms import DEFAULT, find_algorithm
from flows.algorithms.chain import Chain
from infra.errors import UserError
from infra.recipe import apply_overrides, read_layers, validated
from infra.recipe.messages import Where
from tasks.sections import Recipe

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


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe (a bundled one's name or a file) and what it extends, then apply `a.b=value` overrides.

    The result is of the recipe class of its algorithm. Raises UserError naming file or override, dotted field, value
    and what was expected.
    """
    layers = read_layers(recipe_path(str(name)), recipe_path)
    recipe = _read(layers.data, layers.where)
    changed = apply_overrides(recipe, overrides) if overrides else recipe
    if changed.algorithm != recipe.algorithm:
        raise UserError(f"--set algorithm={changed.algorithm}: the recipe's file says which, with the sections it has.")
    return changed


def parse_recipe(data: Mapping[str, Any], where: str) -> Recipe:
    """Plain data as a recipe of its algorithm; `where` names its origin in a UserError."""
    return _read(data, lambda _: where)


def chain_of(recipe: Recipe, algorithm: str | None = None) -> Chain:
    """What the recipe's algorithm, or another that can do with its sections, asks for; walked once a process."""
    return _walked(recipe, algorithm or recipe.algorithm)


@functools.lru_cache(maxsize=8)
def _walked(recipe: Recipe, algorithm: str) -> Chain:
    return Chain.of(find_algorithm(algorithm, recipe.name), recipe)


def _read(data: Mapping[str, Any], where: Where) -> Recipe:
    algorithm = find_algorithm(data.get("algorithm", DEFAULT), where(("algorithm",)))
    return validated(algorithm.recipe, data, where)
