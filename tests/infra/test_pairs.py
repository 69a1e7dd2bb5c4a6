"""PairDataset gives exactly what was committed, in any order, from any store."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from infra.errors import UserError
from infra.pairs import PairDataset
from infra.store import Store, open_store
from tests.infra.small_pairs import SHAPE, commit, sample, shards


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_every_pair_in_any_order(store: Store, dtype: str) -> None:
    made = [one for shard in shards([5, 1, 0, 7], dtype) for one in shard]
    data = PairDataset(commit(store, shards([5, 1, 0, 7], dtype)))
    assert len(data) == 13
    ids = np.array([12, 0, 5, 5, 3])
    noise, latent, prompts = data.batch(ids)
    assert noise.dtype == latent.dtype == torch.float32 and noise.shape == (5, *SHAPE)
    for row, index in enumerate(ids):
        np.testing.assert_array_equal(noise[row].numpy(), made[index].noise.astype(np.float32))
        np.testing.assert_array_equal(latent[row].numpy(), made[index].latent.astype(np.float32))
        assert prompts[row] == made[index].prompt
        pair = data[int(index)]
        assert torch.equal(pair["noise"], noise[row]) and torch.equal(pair["latent"], latent[row])
        assert (pair["prompt"], pair["key"]) == (made[index].prompt, made[index].key)


def test_batches_are_the_callers_own(store: Store) -> None:
    data = PairDataset(commit(store, shards([3])))
    first = data.batch(np.arange(3))[0]
    before = first.clone()
    first += 1
    assert torch.equal(data.batch(np.arange(3))[0], before)


def test_positions_out_of_range(store: Store) -> None:
    data = PairDataset(commit(store, shards([3])))
    for index in (3, -1):
        with pytest.raises(IndexError, match="from 0 to 2"):
            data[index]
    assert len(data.batch(np.array([], dtype=np.int64))[2]) == 0


def test_it_opens_by_uri_and_travels(tmp_path: Path) -> None:
    made = commit(open_store(tmp_path / "store"), shards([5, 4]))
    data = PairDataset(made.uri)
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(copy.batch(np.arange(9))[0], data.batch(np.arange(9))[0])


@pytest.mark.parametrize("s3", ["rclone"], indirect=True)
def test_workers_read_it(s3: Store) -> None:
    data = PairDataset(commit(s3, shards([5, 4])))
    noise = data.batch(np.arange(9))[0]  # opens connections, starts threads: what a forked worker could not bear
    batches = [*DataLoader(data, batch_size=4, num_workers=1, multiprocessing_context="spawn")]
    assert torch.equal(torch.cat([batch["noise"] for batch in batches]), noise)
    assert [key for batch in batches for key in batch["key"]] == [f"{index:06d}" for index in range(9)]


def test_pairs_of_two_shapes(store: Store) -> None:
    odd = [[sample(0), sample(1, shape=(2, 3, 5))]]
    with pytest.raises(UserError, match=r"shapes other than \(2, 3, 4\), expected one kind"):
        PairDataset(commit(store, odd))


def test_pairs_of_two_dtypes(store: Store) -> None:
    with pytest.raises(UserError, match="expected one kind"):
        PairDataset(commit(store, [[sample(0), sample(1, "float16")]]))


def test_no_pairs(store: Store) -> None:
    with pytest.raises(UserError, match="no pairs"):
        PairDataset(commit(store, [[]]))
