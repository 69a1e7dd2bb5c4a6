"""Shards are mapped within the limit of the cache, and come ahead of their need."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from infra.artifact import Artifact
from infra.pairs import PairDataset
from infra.shards import maps as shard_maps
from infra.store import Store
from tests.infra.counted import Counted, copies, held, unused, unused_s
from tests.infra.small_pairs import commit, sample, shards

STORES = ("rclone",)


def test_pairs_that_do_not_fit_are_read_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = commit(store, shards([4] * 6))
    size = made.files("shard-000000.tar")[0].bytes
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", str(2 * size))
    data = PairDataset(made)
    assert "downloaded again and again. Raise INSTAFLOW_CACHE_BYTES" in caplog.text.replace("\n", " ")
    order = np.random.default_rng(0).permutation(24)
    for ids in order.reshape(6, 4):
        noise, _, prompts = data.batch(ids)
        np.testing.assert_array_equal(noise.numpy(), np.stack([sample(int(one)).noise for one in ids]))
        assert sum(path.stat().st_size for path in copies()) <= 2 * size
        assert data._shards._mapped_bytes <= 2 * size


def test_shards_come_ahead_in_the_order_of_need(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_maps, "_DOWNLOADS", 1)
    made = commit(store, shards([3] * 5))
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", str(sum(file.bytes for file in made.files()) + 1))
    counted = Counted(store)
    data = PairDataset(Artifact(counted, made.base, made.manifest))
    data.prefetch(np.array([7, 13, 6, 2, 12, 10, 3]))
    (thread,) = [one for one in threading.enumerate() if one.name.endswith("(_download)")]
    thread.join(30)
    assert [name[:12] for name in counted.names[1:]] == [f"shard-{number:06d}" for number in (2, 4, 0, 3, 1)]
    noise, _, _ = data.batch(np.arange(15))
    assert len(counted.names) == 6
    np.testing.assert_array_equal(noise.numpy(), np.stack([sample(index).noise for index in range(15)]))


def test_no_more_comes_ahead_than_the_cache_holds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = commit(store, shards([3] * 5))
    size = made.files("shard-000000.tar")[0].bytes
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", str(2 * size))
    counted = Counted(store)
    data = PairDataset(Artifact(counted, made.base, made.manifest))
    data.prefetch(np.arange(15))
    for thread in [one for one in threading.enumerate() if one.name.endswith("(_download)")]:
        thread.join(30)
    assert sorted(name[:12] for name in counted.names[1:]) == ["shard-000000", "shard-000001"]


def test_what_a_long_training_reads_counts_as_used(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    data = PairDataset(commit(store, shards([2, 2])))
    data.batch(np.arange(4))
    for path in held().values():
        unused(path, 1000)
    monkeypatch.setattr(shard_maps, "_TOUCH_S", -1.0)
    data.batch(np.array([0]))
    ages = {name: unused_s(path) for name, path in held().items()}
    assert ages["shard"] < 500 < ages["index"]
