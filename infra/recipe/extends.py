"""`extends: other.yaml`: a recipe is another one with a few fields changed.

Sections merge field by field, everything else (lists, numbers, null) replaces what was there. The name is never
inherited: the runs of a variation are its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.errors import UserError
from infra.recipe.yaml_file import read_mapping, shown

EXTENDS = "extends"
Location = tuple[str, ...]
Named = Callable[[str], Path]
"""The file of a bundled recipe; raises UserError for a name it does not know."""


@dataclass
class Layers:
    """The merged content of a recipe file and of those it extends, and which file each field is from."""

    data: dict[str, Any] = field(default_factory=dict)
    origin: dict[Location, str] = field(default_factory=dict)

    def where(self, location: Location) -> str:
        """The file that a mistake at `location` is in: the last one that set it or the section around it."""
        found = (location[:depth] for depth in range(len(location), -1, -1))
        return next(self.origin[place] for place in found if place in self.origin)

    def add(self, data: Mapping[str, Any], file: str) -> None:
        """Lay the content of `file` over what is there."""
        self.data.pop("name", None)
        self.origin.pop(("name",), None)
        self.origin[()] = file
        self.data = self._merged(self.data, data, file, ())

    def _merged(self, old: Mapping[str, Any], new: Mapping[str, Any], file: str, at: Location) -> dict[str, Any]:
        merged = dict(old)
        for key, value in new.items():
            before, place = merged.get(key), (*at, str(key))
            if isinstance(before, dict) and isinstance(value, dict):
                merged[key] = self._merged(before, value, file, place)
            else:
                self.origin = {known: where for known, where in self.origin.items() if known[: len(place)] != place}
                merged[key] = self._merged({}, value, file, place) if isinstance(value, dict) else value
            self.origin[place] = file
        return merged


def read_layers(path: Path, named: Named | None = None) -> Layers:
    """Read a recipe file and what it extends, the base first.

    `extends` is a path relative to the file, or a name that `named` knows. Raises UserError naming the file that
    has the mistake, for files that extend each other too.
    """
    files = [path]
    contents = [dict(read_mapping(path))]
    while EXTENDS in contents[-1]:
        value, child = contents[-1].pop(EXTENDS), files[-1]
        base = _base(value, child, named)
        if base.resolve() in [file.resolve() for file in files]:
            circle = " -> ".join(map(str, [*files, base]))
            raise UserError(f"{child}: extends: found {shown(value)}, which leads in a circle: {circle}.")
        files.append(base)
        contents.append(dict(_read(base, child, value)))
    layers = Layers()
    for file, content in zip(reversed(files), reversed(contents), strict=True):
        layers.add(content, str(file))
    return layers


def _base(value: object, child: Path, named: Named | None) -> Path:
    if not isinstance(value, str) or not value:
        raise UserError(f"{child}: extends: found {shown(value)}, expected the path or the name of another recipe.")
    if named is None or value.endswith((".yaml", ".yml")) or "/" in value:
        return child.parent / Path(value).expanduser()
    try:
        return named(value)
    except UserError as error:
        raise UserError(f"{child}: extends: {error}") from error


def _read(base: Path, child: Path, value: object) -> Mapping[str, Any]:
    if not base.exists():
        raise UserError(f"{child}: extends: found {shown(value)}, but there is no {base}. Paths start at the file.")
    return read_mapping(base)
