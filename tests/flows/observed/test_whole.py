"""Tables are read when they are what the manifest says, and only then."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.observed.whole import table
from infra.artifact import Artifact
from infra.store import open_store
from tests.infra.small_pairs import commit, shards


@pytest.fixture
def made(tmp_path: Path) -> Artifact:
    return commit(open_store(tmp_path), shards([8]))


def test_its_columns_are_read(made: Artifact) -> None:
    found = table(made, made.record("index.parquet"), ["shard", "prompt"])
    assert found is not None and found.column_names == ["shard", "prompt"] and found.num_rows == 8


@pytest.mark.parametrize("columns", [["prompt", "loss"], ["loss"]])
def test_one_with_other_columns_is_none(columns: list[str], made: Artifact) -> None:
    assert table(made, made.record("index.parquet"), columns) is None


def test_one_that_is_too_large_is_not_read(made: Artifact) -> None:
    file = made.record("index.parquet")
    assert table(made, file.model_copy(update={"bytes": 1 << 30}), ["shard"]) is None


@pytest.mark.parametrize("content", [None, b"", b"PAR1"])
def test_one_that_is_missing_or_another_is_none(content: bytes | None, made: Artifact) -> None:
    file = made.record("index.parquet")
    made.store.delete(f"{made.base}/{file.path}")
    if content is not None:
        made.store.write(f"{made.base}/{file.path}", content)
    assert table(made, file, ["shard"]) is None
