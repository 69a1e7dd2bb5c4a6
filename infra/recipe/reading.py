"""From plain data to a checked recipe of any kind, with `a.b=value` overrides on top."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from infra.address import public
from infra.errors import UserError
from infra.recipe.messages import Where, explained
from infra.recipe.section import Section
from infra.recipe.yaml_file import parse_yaml, shown

_R = TypeVar("_R", bound=Section)


def validated(kind: type[_R], data: Mapping[str, Any], where: Where) -> _R:
    """The data as a recipe of that kind. Raises UserError naming origin, dotted field, value and what was expected."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise UserError(explained(error.errors(), kind, where)) from error


def apply_overrides(recipe: _R, overrides: Sequence[str]) -> _R:
    """A copy with each `a.b=value` set (values are YAML).

    Raises UserError naming the override that does not fit, and two that contradict each other.
    """
    data = recipe.model_dump()
    values: dict[str, Any] = {}
    origin: dict[tuple[str, ...], str] = {}
    for override in overrides:
        parts, (_, equals, text) = _key(override), override.partition("=")
        if not equals or not all(parts):
            raise UserError(f"{_told(override)}: expected key=value, for instance pairs.steps=10")
        values[override] = parse_yaml(text, _told(override))
        _put(data, parts, copy.deepcopy(values[override]), override)
        origin[parts] = _told(override)
    _require_all_stand(data, values)

    def where(location: tuple[str, ...]) -> str:
        near = [text for parts, text in origin.items() if location[: len(parts)] == parts[: len(location)]]
        return near[-1] if near else _told(" ".join(overrides))

    return validated(type(recipe), data, where)


def _told(override: str) -> str:
    return f"--set {public(override)}"


def _require_all_stand(data: Any, values: Mapping[str, Any]) -> None:
    """Refuse an override that a later one took back: it would have no effect."""
    for override, value in values.items():
        key = _key(override)
        if not _stands(_at(data, key), value):
            near = [one for one in values if one != override and _touch(_key(one), key)]
            raise UserError(f"{_told(override)}: contradicted by {_told(near[-1])}. Give one of them.")


def _key(override: str) -> tuple[str, ...]:
    return tuple(override.partition("=")[0].strip().split("."))


def _touch(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return one[: len(other)] == other[: len(one)]


def _at(data: Any, key: tuple[str, ...]) -> Any:
    for part in key:
        data = data.get(part) if isinstance(data, dict) else None
    return data


def _stands(found: Any, value: Any) -> bool:
    """Whether a value that was set is still there; fields may have been added to a section."""
    if isinstance(value, dict) and isinstance(found, dict):
        return all(_stands(found.get(name), item) for name, item in value.items())
    return found is value or bool(found == value)  # not a number is unequal to itself


def _put(data: Any, parts: Sequence[str], value: Any, override: str) -> None:
    for depth, part in enumerate(parts):
        here = ".".join(parts[:depth]) or "the recipe"
        if isinstance(data, (list, tuple)):
            raise UserError(f"{_told(override)}: {here} is a list: set it whole, for instance {here}=[...]")
        if not isinstance(data, dict):
            raise UserError(f"{_told(override)}: {here} is {shown(data)} and has no fields; expected a section")
        if depth == len(parts) - 1:
            data[part] = value
        elif data.get(part) is None:  # an optional section that is off: setting a field turns it on
            data[part] = {}
        data = data[part]
