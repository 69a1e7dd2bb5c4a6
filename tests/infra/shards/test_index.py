"""The mapped index says of every pair what index.parquet says."""

from __future__ import annotations

import numpy as np
import pytest

from infra.artifact import Artifact
from infra.artifact import mapped as mapping
from infra.artifact.cache_folder import cache_folder
from infra.shards import index as module
from infra.shards.index import PairIndex
from infra.shards.shards import read_index
from infra.store import Store
from tests.infra.small_pairs import SHAPE, commit, shards

STORES = ("local", "memory")


def compare(made: Artifact) -> None:
    index, rows = PairIndex.open(made), read_index(made.fetch("index.parquet"))
    ids = np.random.default_rng(0).permutation(len(rows))
    told = [rows[row] for row in ids]
    assert len(index) == len(rows) and index.shape == SHAPE and index.dtype == rows[0].dtype
    assert index.keys(ids) == [row.key for row in told] and index.prompts(ids) == [row.prompt for row in told]
    assert index.offsets(ids) == [(row.noise_offset, row.latent_offset) for row in told]
    assert [index.shards[number] for number in index.stretches(ids)] == [row.shard for row in told]


def test_it_says_what_the_file_says(store: Store) -> None:
    made = commit(store, shards([5, 0, 1, 7]))
    compare(made)
    index = PairIndex.open(made)
    assert index.shards == ["shard-000000.tar", "shard-000002.tar", "shard-000003.tar"]
    assert index.ends.tolist() == [5, 6, 13]


def test_shards_that_lie_in_several_batches_are_one_stretch(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 3)
    made = commit(store, shards([5, 4, 3]))
    compare(made)
    assert PairIndex.open(made).ends.tolist() == [5, 9, 12]


def test_it_is_mapped_and_not_read_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = commit(store, shards([5, 4]))
    PairIndex.open(made)
    for path in cache_folder().rglob("*.parquet"):
        path.unlink()
    monkeypatch.setattr(mapping, "_write", None)
    assert len(PairIndex.open(made)) == 9
