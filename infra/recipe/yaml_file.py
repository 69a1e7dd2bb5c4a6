"""YAML as people write it: 1e-4 is a number, a repeated key a mistake, and every error says where."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.errors import UserError


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """YAML with 1e-4 read as a number (YAML 1.1 takes it for text) and repeated keys refused."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\d[\d_]*)(?:\.[\d_]*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def _unique_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]  # `<<: *anchor` may be overridden
    keys = [loader.construct_object(key, deep=True) for key in own]
    for position, key in enumerate(keys):
        if key in keys[:position]:
            mark = own[position].start_mark
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", mark)
    return dict(loader.construct_mapping(node, deep=True))


_Loader.add_constructor("tag:yaml.org,2002:map", _unique_mapping)


def read_mapping(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such recipe file. Check the path; it starts at {Path.cwd()}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8. Save the recipe as UTF-8 text.") from error
    except OSError as error:
        raise UserError(f"{path}: cannot read the recipe: {error.strerror}. Expected a YAML file.") from error
    data = parse_yaml(text, str(path))
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise UserError(f"{path}: expected a mapping of recipe sections at the top, found {shown(data)}.")
    return data


def parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # _Loader is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise UserError(f"{where}:{place} no valid YAML: {error.problem or error.context}.") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date of no calendar
        raise UserError(f"{where}: no valid YAML: {error}.") from error


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
