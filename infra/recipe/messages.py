"""What is said of a field that does not fit: where it stands, what was found, what was expected."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, get_args, get_origin

from pydantic_core import ErrorDetails

from infra.recipe.extends import EXTENDS, Location
from infra.recipe.section import Section
from infra.recipe.yaml_file import shown

Where = Callable[[Location], str]
"""The file or override that a field comes from."""

_EXPECTED = {"bool_type": "true or false"}


def explained(details: list[ErrorDetails], kind: type[Section], where: Where) -> str:
    """pydantic's findings on a `kind` in the user's words, one a line."""
    return "\n".join(_explained(detail, kind, where) for detail in _innermost(details))


def _innermost(details: list[ErrorDetails]) -> list[ErrorDetails]:
    # a bad item also makes its list too short: say only the first
    places = [detail["loc"] for detail in details]
    return [
        detail
        for detail in details
        if not any(len(at) > len(detail["loc"]) and at[: len(detail["loc"])] == detail["loc"] for at in places)
    ]


def _explained(detail: ErrorDetails, kind: type[Section], where: Where) -> str:
    location = tuple(map(str, detail["loc"]))
    field, source = ".".join(location) or "recipe", where(location)
    if detail["type"] == "extra_forbidden":
        return f"{source}: {field}: unknown key. {_nearest(location, kind)}"
    if detail["type"] == "missing":
        return f"{source}: {field}: missing. {_meaning(location, kind)}"
    if detail["type"] == "value_error":
        return f"{source}: {field}: {detail['ctx']['error']}."
    expected = _EXPECTED.get(detail["type"]) or detail["msg"].removeprefix("Input should be ")
    text = f"{source}: {field}: found {shown(detail['input'])}, expected {expected}. {_meaning(location, kind)}"
    return text.rstrip()


def _nearest(location: Location, kind: type[Section]) -> str:
    section = _section_at(location[:-1], kind)
    keys = [*section.model_fields, *([EXTENDS] if section is kind else [])] if section else []
    below = _one_below(location[-1], section) if section else []
    near = below or difflib.get_close_matches(location[-1], keys, n=1, cutoff=0.5)
    prefix = "".join(f"{part}." for part in location[:-1])
    return f"Did you mean {prefix}{near[0]}?" if near else f"Valid keys here: {', '.join(keys)}."


def _one_below(key: str, section: type[Section]) -> list[str]:
    """Where the key would be known one level deeper; nothing where that is in more than one place."""
    fields = {name: field.annotation for name, field in section.model_fields.items()}
    places = [
        f"{name}=[{{{key}: ...}}, ...]" if get_origin(annotation) is tuple else f"{name}.{key}"
        for name, annotation in fields.items()
        if (inner := _section_in(annotation)) and key in inner.model_fields
    ]
    return places if len(places) == 1 else []


def _meaning(location: Location, kind: type[Section]) -> str:
    section = _section_at(location[:-1], kind)
    field = section.model_fields.get(location[-1]) if section and location else None
    return f"({location[-1]}: {field.description})" if field else ""


def _section_at(location: Location, kind: type[Section]) -> type[Section] | None:
    section: type[Section] | None = kind
    is_key = False
    for part in location:
        if section is None or part.isdigit() or is_key:  # items are of the kind found at their list or mapping
            is_key = False
            continue
        field = section.model_fields.get(part)
        section = _section_in(field.annotation) if field else None
        is_key = field is not None and get_origin(field.annotation) is dict
    return section


def _section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part))), None)
