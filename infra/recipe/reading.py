"""From plain data to a checked recipe of any kind, with `a.b=value` overrides on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from infra.errors import UserError
from infra.recipe.messages import Where, explained
from infra.recipe.section import Section
from infra.recipe.yaml_file import parse_yaml

_R = TypeVar("_R", bound=Section)


def validated(kind: type[_R], data: Mapping[str, Any], where: Where) -> _R:
    """The data as a recipe of that kind. Raises UserError naming origin, dotted field, value and what was expected."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise UserError(explained(error.errors(), kind, where)) from error


def apply_overrides(recipe: _R, overrides: Sequence[str]) -> _R:
    """A copy with each `a.b=value` set (values are YAML). Raises UserError naming the override that does not fit."""
    data = recipe.model_dump()
    origin: dict[tuple[str, ...], str] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        parts = tuple(key.strip().split("."))
        if not equals or not all(parts):
            raise UserError(f"--set {override}: expected key=value, for instance pairs.steps=10")
        _put(data, parts, parse_yaml(text, f"--set {override}"), override)
        origin[parts] = f"--set {override}"

    def where(location: tuple[str, ...]) -> str:
        near = [text for parts, text in origin.items() if location[: len(parts)] == parts[: len(location)]]
        return near[-1] if near else f"--set {' '.join(overrides)}"

    return validated(type(recipe), data, where)


def _put(data: Any, parts: Sequence[str], value: Any, override: str) -> None:
    for depth, part in enumerate(parts):
        here = ".".join(parts[:depth]) or "the recipe"
        if isinstance(data, (list, tuple)):
            raise UserError(f"--set {override}: {here} is a list: set it whole, for instance {here}=[...]")
        if not isinstance(data, dict):
            raise UserError(f"--set {override}: {here} is {data!r} and has no fields; expected a section")
        if depth == len(parts) - 1:
            data[part] = value
        elif data.get(part) is None:  # an optional section that is off: setting a field turns it on
            data[part] = {}
        data = data[part]
