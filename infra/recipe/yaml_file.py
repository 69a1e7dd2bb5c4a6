"""YAML as people write it: 1e-4 is a number, 010 is none, a repeated key is a mistake, and every error says where."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.address import public
from infra.errors import UserError


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """YAML with repeated keys refused, and numbers and truth values as in YAML 1.2.

    YAML 1.1 takes 1e-4 for text, 010 for 8, 1:30 for 90 and no for false: what a field then means, nobody meant.
    """


_PLAIN = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(?:0|[1-9][\d_]*|0x[\da-fA-F_]+)", "-+0123456789"),
    "float": (
        r"[-+]?(?:\d[\d_]*(?:\.[\d_]*)?[eE][-+]?\d+|\d[\d_]*\.[\d_]*|\.\d[\d_]*(?:[eE][-+]?\d+)?|\.(?:inf|Inf|INF))"
        r"|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
}
"""How the values are written that are no text, and what they begin with."""

_OURS = {f"tag:yaml.org,2002:{kind}" for kind in _PLAIN}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag not in _OURS]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, (_pattern, _first) in _PLAIN.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})$"), list(_first))


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
    except RecursionError as error:
        raise UserError(
            f"{where}: nested too deeply. Expected a mapping of sections, each a mapping of fields."
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date of no calendar
        raise UserError(f"{where}: no valid YAML: {error}.") from error


def shown(value: object) -> str:
    text = public(repr(value))
    return text if len(text) <= 80 else f"{text[:77]}..."
