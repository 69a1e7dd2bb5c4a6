"""Lists by what their lines have in common: a page for each value, so that filtering needs no script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from flows.page_names import slug

AT_MOST = 40
"""Values of a facet that have a page."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class Value(Generic[_T]):
    """A value, where the list of those that have it lies, and the list."""

    name: str
    stem: str
    items: Sequence[_T]

    @property
    def path(self) -> str:
        """The first page of the list."""
        return f"{self.stem}.html"

    @property
    def count(self) -> int:
        """How many have it."""
        return len(self.items)


@dataclass(frozen=True)
class Facet(Generic[_T]):
    """What lines may have in common; those that stand first come first."""

    name: str
    values: Sequence[Value[_T]]
    left_out: int


def facet(name: str, stem: str, items: Sequence[_T], of: Callable[[_T], str | None]) -> Facet[_T]:
    """The values of one kind, in the order in which they are met; a line without one is in none."""
    found: dict[str, list[_T]] = {}
    for item in items:
        if (value := of(item)) is not None:
            found.setdefault(value, []).append(item)
    values = [Value(value, f"{stem}-{slug(value)}", some) for value, some in found.items()]
    return Facet(name, values[:AT_MOST], max(0, len(values) - AT_MOST))
