"""PairDataset gives exactly what was committed, in any order, and never a sample of a damaged shard."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from infra import artifact as artifact_module
from infra.artifact import Artifact, Draft
from infra.environment import utc_now
from infra.errors import UserError
from infra.fingerprint import fingerprint, sha256_bytes
from infra.pairs import PairDataset
from infra.shards import IndexRow, Sample, write_index, write_shard
from infra.store import Store

SHAPE = (2, 3, 4)


def sample(index: int, dtype: str = "float32", shape: tuple[int, ...] = SHAPE) -> Sample:
    random = np.random.default_rng(index)
    noise, latent = random.standard_normal((2, *shape)).astype(dtype)
    return Sample(f"{index:06d}", noise, latent, f'prompt "{index}" 🐈', index, index)


def commit(store: Store, shards: list[list[Sample]]) -> Artifact:
    with Draft(store, "pairs", fingerprint("pairs", 1, {}, {})) as draft:
        rows: list[IndexRow] = []
        for number, samples in enumerate(shards):
            name = f"shard-{number:06d}"
            rows += write_shard(draft.workdir / f"{name}.tar", samples)
            draft.commit_unit(name, {f"{name}.tar": draft.workdir / f"{name}.tar"}, rows=len(samples))
        write_index(draft.workdir / "index.parquet", rows)
        draft.commit_unit("index", {"index.parquet": draft.workdir / "index.parquet"})
        return draft.finish(1, {}, {}, {}, {}, utc_now())


def shards(counts: list[int], dtype: str = "float32") -> list[list[Sample]]:
    starts = np.cumsum([0, *counts])
    return [
        [sample(int(start) + index, dtype) for index in range(count)]
        for start, count in zip(starts, counts, strict=False)
    ]


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


def test_it_opens_by_uri_and_travels_to_workers(tmp_path: Path) -> None:
    made = commit(Store.open(tmp_path / "store"), shards([5, 4]))
    data = PairDataset(made.uri)
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(copy.batch(np.arange(9))[0], data.batch(np.arange(9))[0])
    batches = [*DataLoader(data, batch_size=4, num_workers=1)]
    assert torch.equal(torch.cat([batch["noise"] for batch in batches]), data.batch(np.arange(9))[0])


def test_a_shard_torn_at_any_block_is_found(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    made = commit(store, shards([3, 2]))
    record = made.files("shard-000001.tar")[0]
    path = f"{made.base}/{record.path}"
    whole = store.read(path)
    for cut in range(0, len(whole), 512):
        store.write(path, whole[:cut])
        artifact_module._verified.clear()
        with pytest.raises(UserError) as caught:
            PairDataset(made)
        for part in (record.path, record.sha256, sha256_bytes(whole[:cut]), "run the stage again"):
            assert part in str(caught.value)
    store.write(path, whole)
    assert len(PairDataset(made)) == 5


def test_any_flipped_bit_is_found(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    made = commit(store, shards([3]))
    path = f"{made.base}/{made.files('*.tar')[0].path}"
    whole = store.read(path)
    random = np.random.default_rng(0)
    for position in random.choice(8 * len(whole), 200, replace=False):
        data = bytearray(whole)
        data[position // 8] ^= 1 << (position % 8)
        store.write(path, bytes(data))
        artifact_module._verified.clear()
        with pytest.raises(UserError, match="the file is damaged"):
            PairDataset(made)


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
