"""Tables of fields, generated from the pydantic models, between two marks of a Markdown file."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from pydoc import locate
from typing import Any, get_origin

from pydantic import BaseModel, JsonValue

from flows.algorithms.instaflow import Recipe
from infra.recipe import ASIDE, FILES, Section
from tests import ROOT

DOCS = ROOT / "docs"
PACKAGES = ("flows", "tasks", "models", "infra")
_BLOCK = re.compile(r"(<!-- generated: (?P<what>[\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_KINDS = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "object": "mapping"}
_NOT_IDENTITY = {"performance", "placement.*"}


def filled(text: str) -> str:
    """The Markdown with every generated block as the code has it now."""
    return _BLOCK.sub(lambda block: f"{block[1]}{_generated(block['what'])}{block[3]}", text)


def _generated(what: str) -> str:
    if what == "recipe":
        return recipe_reference()
    if what == "modules":
        return module_list()
    model = locate(what)
    assert isinstance(model, type) and issubclass(model, BaseModel), what
    return "\n".join(["", *_table(model, ("field", "type", "meaning")), "", ""])


def module_list() -> str:
    """Every module by folder, with the first sentence of its docstring."""
    lines = [""]
    for folder in sorted({path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")}):
        files = sorted(path for path in folder.glob("*.py") if path.name not in ("__init__.py", "__main__.py"))
        lines += [f"**`{folder.relative_to(ROOT)}/`** {_says(folder / '__init__.py')}", ""]
        lines += [f"- `{path.name}`: {_says(path)}" for path in files] + ([""] if files else [])
    return "\n".join([*lines, ""])


def _says(path: Path) -> str:
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(told.partition("\n\n")[0].split())


def recipe_reference() -> str:
    """Every field of a recipe: its own section per section, in the order of the file."""
    lines = [
        "",
        *_table(Recipe, ("field", "type", "default", "meaning")),
        "",
        "`*`: not part of any fingerprint.",
        "",
    ]
    for path, section in _sections(Recipe, ""):
        aside = " Not part of any fingerprint." if path in _NOT_IDENTITY else ""
        lines += [f"## `{path}`", "", f"{section.__doc__}{aside}", ""]
        lines += [*_table(section, ("field", "type", "default", "meaning")), ""]
    return "\n".join([*lines, ""])


def _sections(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        for part in _parts(field.annotation):
            if isinstance(part, type) and issubclass(part, Section):
                path = f"{prefix}{name}" + (".*" if get_origin(field.annotation) is dict else "")
                yield path, part
                yield from _sections(part, f"{path}.")


def _parts(annotation: Any) -> Iterator[Any]:
    inner = getattr(annotation, "__args__", ())
    yield from (part for one in inner for part in _parts(one)) if inner else (annotation,)


def _table(model: type[BaseModel], head: tuple[str, ...]) -> Iterator[str]:
    schema = model.model_json_schema()
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for name, field in model.model_fields.items():
        shape = schema["properties"][name]
        aside = "*" if field.json_schema_extra in (ASIDE, FILES) else ""
        cells = {
            "field": f"`{name}`{aside}",
            "type": _kind(shape),
            "default": _default(shape, field.is_required()),
            "meaning": " ".join((field.description or "").split()),
        }
        yield "| " + " | ".join(cells[column].replace("|", r"\|") for column in head) + " |"


def _kind(shape: dict[str, Any]) -> str:
    if "anyOf" in shape:
        return " or ".join(_kind(one) for one in shape["anyOf"])
    if "$ref" in shape:
        return "section" if shape["$ref"].endswith(_SECTION_NAMES) else "record"
    if "enum" in shape:
        return ", ".join(f"`{value}`" for value in shape["enum"])
    if "const" in shape:
        return f"`{shape['const']}`"
    if shape.get("type") == "null":
        return "null"
    if shape.get("type") == "array":
        return f"list of {_kind(shape['items'])}"
    bounds = [f"{sign} {shape[key]:g}" for key, sign in _BOUNDS.items() if key in shape and abs(shape[key]) < 2**40]
    return " ".join([_KINDS.get(shape.get("type", ""), "any JSON"), ", ".join(bounds)]).strip()


_SECTION_NAMES = tuple(f"/{section.__name__}" for _, section in _sections(Recipe, ""))


def _default(shape: dict[str, Any], required: bool) -> str:
    if required:
        return "required"
    value = shape.get("default")
    return "see below" if _is_section(value) else f"`{json.dumps(value, ensure_ascii=False)}`"


def _is_section(value: JsonValue) -> bool:
    return isinstance(value, dict) and bool(value)
