"""Which rows of a table of prompts are taken, by what stands beside the text."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.sections import Prompts

NUMBER, TEXT = pa.float64(), pa.large_string()
Counts = MutableMapping[str, int]


@dataclass(frozen=True)
class Column:
    """A column that is read: the recipe's field that names it, its name, and what it has to hold."""

    field: str
    name: str
    kind: pa.DataType


@dataclass(frozen=True)
class Filter:
    """Rows stay where the column passes; a missing value does not. The others are counted by the filter's name."""

    name: str
    column: str
    passes: Callable[[pa.Array, Any], pa.Array]
    bound: Any


_FILTERS = (
    ("min_similarity", "similarity", NUMBER, pc.greater_equal),
    ("min_aesthetic", "aesthetic", NUMBER, pc.greater_equal),
    ("languages", "language", TEXT, None),
    ("min_width", "width", NUMBER, pc.greater_equal),
    ("min_height", "height", NUMBER, pc.greater_equal),
    ("nsfw", "nsfw", TEXT, None),
    ("max_punsafe", "punsafe", NUMBER, pc.less_equal),
)
"""Field of PromptFilters, field of PromptColumns, what that column holds, comparison (None: one of)."""


def _one_of(values: pa.Array, allowed: tuple[str, ...]) -> pa.Array:
    return pc.is_in(values, value_set=pa.array(allowed, TEXT))


def filters(config: Prompts) -> list[Filter]:
    """The filters that the recipe sets, in the order in which they are asked."""
    every = [(name, column, passes or _one_of, getattr(config.filters, name)) for name, column, _, passes in _FILTERS]
    return [Filter(*one) for one in every if one[3] not in (None, ())]


def columns(config: Prompts) -> list[Column]:
    """What has to be read: the text first, then what the filters ask for."""
    used = config.filters.columns()
    beside = [
        Column(f"prompts.columns.{name}", getattr(config.columns, name), kind)
        for _, name, kind, _ in _FILTERS
        if name in used
    ]
    return [Column("prompts.column", config.column, TEXT), *beside]


def taken(config: Prompts, values: pa.Table, counts: Counts) -> pa.Table:
    """The rows of `values` (columns by the fields that name them) that pass every filter; the others are counted."""
    for one in filters(config):
        passed = pc.fill_null(one.passes(values[f"prompts.columns.{one.column}"], one.bound), False)
        kept = values.filter(passed)
        counts[one.name] += len(values) - len(kept)
        values = kept
    return values
