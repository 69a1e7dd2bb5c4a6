"""Pairs of several artifacts are one set, in their order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from infra.errors import UserError
from infra.pairs import PairDataset
from infra.store import open_store
from tasks.train.pair_sets import PairSets
from tests.infra.small_pairs import commit, sample, shards


def test_several_sets_are_read_as_one(tmp_path: Path) -> None:
    made = [commit(open_store(tmp_path / str(number)), shards(sizes)) for number, sizes in enumerate(([5, 4], [3]))]
    whole, parts = PairSets(made), [PairDataset(one) for one in made]
    assert len(whole) == 12 and whole.digest == "+".join(one.digest for one in made)
    ids = np.array([11, 0, 9, 8, 4, 10, 0])
    noise, latent, prompts = whole.batch(ids)
    for row, place in enumerate(ids.tolist()):
        pair = parts[0][place] if place < 9 else parts[1][place - 9]
        assert torch.equal(noise[row], pair["noise"]) and torch.equal(latent[row], pair["latent"])
        assert prompts[row] == pair["prompt"]
    whole.prefetch(ids)


def test_one_set_is_what_it_is(tmp_path: Path) -> None:
    made = commit(open_store(tmp_path), shards([4]))
    assert PairSets([made]).digest == made.digest
    noise, _, prompts = PairSets([made]).batch(np.array([2, 1]))
    expected, _, texts = PairDataset(made).batch(np.array([2, 1]))
    assert torch.equal(noise, expected) and prompts == texts


def test_latents_of_two_models_are_no_set(tmp_path: Path) -> None:
    shapes = ((4, 2, 2), (16, 2, 2))
    made = [commit(open_store(tmp_path / str(shape)), [[sample(0, shape=shape)]]) for shape in shapes]
    with pytest.raises(UserError, match=r"pairs of shape \(16, 2, 2\), but .* has \(4, 2, 2\); expected one shape"):
        PairSets(made)
