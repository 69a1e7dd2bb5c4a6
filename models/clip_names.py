"""What open_clip knows by name: looked up in its folder, without importing it."""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path


def _folder() -> Path:
    package = importlib.util.find_spec("open_clip")
    if package is None or not package.submodule_search_locations:
        raise ValueError("open_clip is not installed; install the package open_clip_torch")
    return Path(package.submodule_search_locations[0])


@functools.cache
def architectures() -> dict[str, Path]:
    """open_clip's architectures and their files. Raises ValueError where open_clip is not installed."""
    return {path.stem: path for path in sorted((_folder() / "model_configs").glob("*.json"))}


@functools.cache
def tags() -> dict[str, tuple[str, ...]]:
    """The published weights of each architecture by their tags, read from open_clip's table as text.

    Those of OpenAI's activation are also those of the architecture's `-quickgelu` twin, which the table makes when it
    runs: they are not told apart here.
    """
    tree = ast.parse((_folder() / "pretrained.py").read_text(encoding="utf-8"))
    tables = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    found: dict[str, tuple[str, ...]] = {}
    for name, value in _entries(tables.get("_PRETRAINED")):
        table = tables.get(value.id) if isinstance(value, ast.Name) else value
        found[name] = found[f"{name}-quickgelu"] = tuple(tag for tag, _ in _entries(table))
    return found


def _entries(table: ast.expr | None) -> Iterator[tuple[str, ast.expr]]:
    """The entries of a dictionary, written as `{...}` or as `dict(...)`."""
    if isinstance(table, ast.Dict):
        yield from (
            (key.value, value)
            for key, value in zip(table.keys, table.values, strict=True)
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        )
    elif isinstance(table, ast.Call):
        yield from ((keyword.arg, keyword.value) for keyword in table.keywords if keyword.arg)


def check_architecture(name: str) -> None:
    """Raise ValueError for a name that open_clip does not know, with the names nearest to it."""
    if name in architectures():
        return
    spelt = {known.lower(): known for known in architectures()}
    near = [spelt[known] for known in difflib.get_close_matches(name.lower(), spelt, n=3)]
    raise ValueError(f"clip architecture {name!r}: open_clip has no such one; nearest: {', '.join(near) or 'none'}")


def check_tag(name: str, tag: str | None) -> None:
    """Raise ValueError for published weights that the architecture does not have; none named is no mistake."""
    known = tags().get(name, ())
    if tag is not None and tag not in known:
        raise ValueError(
            f"clip tag {tag!r}: {name} has no such published weights; open_clip knows {', '.join(known) or 'none'}"
        )
