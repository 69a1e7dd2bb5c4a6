"""Whatever happens to a shard, no pair of it is given: in a local store and on its way from S3."""

from __future__ import annotations

import numpy as np
import pytest

from infra.artifact.fingerprint import sha256_bytes
from infra.errors import UserError
from infra.pairs import PairDataset
from infra.store import Store
from tests.infra.small_pairs import commit, shards

STORES = ("local", "rclone")


def test_a_shard_torn_at_any_block_is_found(store: Store) -> None:
    made = commit(store, shards([3, 2]))
    record = made.files("shard-000001.tar")[0]
    path = f"{made.base}/{record.path}"
    whole = store.read(path)
    for cut in range(0, len(whole), 512):
        store.write(path, whole[:cut])
        data = PairDataset(made)
        with pytest.raises(UserError) as caught:
            data.batch(np.array([0, 4]))
        for part in (record.path, record.sha256, sha256_bytes(whole[:cut]), "run the stage again"):
            assert part in str(caught.value)
        assert len(data.batch(np.array([0, 2]))[2]) == 2  # those of a whole shard are given all the same
    store.write(path, whole)
    assert len(PairDataset(made).batch(np.array([0, 4]))[2]) == 2


def test_any_of_200_flipped_bits_is_found(store: Store) -> None:
    made = commit(store, shards([3]))
    path = f"{made.base}/{made.files('*.tar')[0].path}"
    whole = store.read(path)
    for position in np.random.default_rng(0).choice(8 * len(whole), 200, replace=False):
        data = bytearray(whole)
        data[position // 8] ^= 1 << (position % 8)
        store.write(path, bytes(data))
        with pytest.raises(UserError, match="the file is damaged"):
            PairDataset(made)[0]
