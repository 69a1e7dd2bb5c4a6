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
