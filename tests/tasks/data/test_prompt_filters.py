"""Filters: each refuses what it should, a missing value too, and counts it once."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest

from tasks.data.prompt_filters import NUMBER, TEXT, Column, columns, filters, taken
from tasks.sections import PromptColumns, PromptFilters, Prompts


def config(names: dict[str, str] | None = None, **bounds: Any) -> Prompts:
    return Prompts(source="parquet", path="x", columns=PromptColumns(**names or {}), filters=PromptFilters(**bounds))


@pytest.mark.parametrize(
    ("bound", "value", "column", "values", "passing"),
    [
        ("min_similarity", 0.3, "similarity", [0.3, 0.29, None, math.nan, 0.9], [0, 4]),
        ("min_aesthetic", 5, "aesthetic", [4.9, 5.0, None, 7.5], [1, 3]),
        ("languages", ["en", "de"], "language", ["en", "fr", None, "de", "EN"], [0, 3]),
        ("min_width", 512, "width", [511, 512, None, 4096], [1, 3]),
        ("min_height", 512, "height", [511, 512, None, 4096], [1, 3]),
        ("nsfw", ["UNLIKELY"], "nsfw", ["UNLIKELY", "UNSURE", "NSFW", None], [0]),
        ("max_punsafe", 0.1, "punsafe", [0.1, 0.11, None, 0.0], [0, 3]),
    ],
)
def test_each_filter(bound: str, value: Any, column: str, values: list[Any], passing: list[int]) -> None:
    told = config(**{bound: value})
    (read,) = columns(told)[1:]
    assert (read.field, read.name) == (f"prompts.columns.{column}", getattr(PromptColumns(), column))
    table = pa.table({read.field: pa.array(values, read.kind), "row": range(len(values))})
    counts = {bound: 0}
    assert taken(told, table, counts)["row"].to_pylist() == passing
    assert counts == {bound: len(values) - len(passing)}


def test_a_row_is_counted_by_the_first_filter_that_refuses_it() -> None:
    told = config({"width": "SIZE", "height": "SIZE"}, min_width=10, min_height=20, min_similarity=0.5)
    assert [one.name for one in filters(told)] == ["min_similarity", "min_width", "min_height"]
    assert columns(told) == [
        Column("prompts.column", "TEXT", TEXT),
        Column("prompts.columns.similarity", "similarity", NUMBER),
        Column("prompts.columns.width", "SIZE", NUMBER),
        Column("prompts.columns.height", "SIZE", NUMBER),
    ]
    sizes = [5.0, 15.0, 25.0, 5.0]
    table = pa.table({
        "prompts.columns.similarity": [0.9, 0.9, 0.9, 0.1],
        "prompts.columns.width": sizes,
        "prompts.columns.height": sizes,
    })  # fmt: skip
    counts = dict.fromkeys(("min_similarity", "min_width", "min_height"), 0)
    assert len(taken(told, table, counts)) == 1
    assert counts == {"min_similarity": 1, "min_width": 1, "min_height": 1}


def test_without_filters_only_the_text_is_read() -> None:
    assert columns(config()) == [Column("prompts.column", "TEXT", TEXT)] and filters(config()) == []
    table = pa.table({"prompts.column": ["a", None]})
    assert taken(config(), table, {}) is table
