"""A training gets the same pairs whenever it is resumed, and its shards come ahead."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from infra.store import open_store
from tasks.train.batches import Batches
from tasks.train.pair_sets import PairSets
from tests.infra.counted import copies
from tests.infra.small_pairs import commit, shards


def test_a_resumed_training_goes_on_with_the_same_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTAFLOW_CACHE", str(tmp_path / "cache"))
    made = commit(open_store(f"memory://bucket{tmp_path}"), shards([5, 4, 2]))
    batches = Batches(PairSets([made]), 3, 4)
    whole = [batches(step) for step in range(12)]
    assert len([path for path in copies() if path.suffix == ".tar"]) == 3
    for first in range(12):
        resumed = Batches(PairSets([made]), 3, 4)
        for step in range(first, 12):
            noise, latent, prompts = resumed(step)
            assert torch.equal(noise, whole[step][0]) and torch.equal(latent, whole[step][1])
            assert prompts == whole[step][2]


def test_a_window_starts_with_half_of_it_and_reads_every_pair_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSTAFLOW_CACHE", str(tmp_path / "cache"))
    made = commit(open_store(f"memory://bucket{tmp_path}"), shards([4] * 12))
    pairs, first = PairSets([made]), Batches(PairSets([made]), 3, 4, 6)
    monkeypatch.setattr(pairs, "prefetch", lambda ids: None)
    batches = Batches(pairs, 3, 4, 6)
    prompts = batches(0)[2]
    assert len([path for path in copies() if path.suffix == ".tar"]) <= 3
    prompts += [prompt for step in range(1, 12) for prompt in batches(step)[2]]
    assert sorted(prompts) == sorted(f'prompt "{index}" 🐈' for index in range(48))
    assert prompts == [prompt for step in range(12) for prompt in first(step)[2]]


def test_the_next_block_comes_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = PairSets([commit(open_store(tmp_path), shards([4] * 12))])
    asked: list[set[int]] = []
    monkeypatch.setattr(pairs, "prefetch", lambda ids: asked.append({*(ids // 4).tolist()}))
    batches = Batches(pairs, 3, 4, 6)
    for step in range(12):
        batches(step, slice(0, 2))
        batches(step, slice(2, 4))
    assert len(asked) == 4 and all(len(shards) == 6 for shards in asked)
    assert all(len(one & other) == 3 for one, other in zip(asked, asked[1:-1], strict=False))
