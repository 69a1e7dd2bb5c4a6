"""A committed pairs artifact as a torch Dataset, with exact random access."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from infra.artifact import Artifact
from infra.shards.index import PairIndex
from infra.shards.maps import ShardMaps
from infra.store import open_store

_LOOKED_AT = 1 << 16  # pairs at a time whose shards are looked up: an epoch has millions


class Pair(TypedDict):
    """noise and latent are float32 [C, H, W]."""

    noise: torch.Tensor
    latent: torch.Tensor
    prompt: str
    key: str


class PairDataset(Dataset[Pair]):
    """Pairs in the order of their index; `artifact` is an open one or its URI, `store/pairs/fingerprint`.

    The index is mapped: the processes of a machine share it, and none holds it.

    A shard is downloaded if its store is remote, checked by its sha256 and mapped when a pair of it is first asked
    for: reading then copies the pair's bytes and nothing else, and no pair of a damaged shard is ever given. Have the
    workers of a DataLoader spawned (`multiprocessing_context="spawn"`): a forked one inherits the threads and
    connections of its parent in an unknown state, and S3 hangs there.

    Opening raises UserError for pairs of more than one shape, reading for a damaged shard, StoreError when a remote
    store fails.
    """

    def __init__(self, artifact: Artifact | str) -> None:
        if isinstance(artifact, str):
            artifact = Artifact.find(open_store("."), artifact)
        self.artifact = artifact
        self._index = PairIndex.open(artifact)
        self.dtype, self.shape = self._index.dtype, self._index.shape
        self._shards = ShardMaps(artifact, self._index.shards)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> Pair:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Pair]:
        """Several pairs at once, as a DataLoader asks for its batches."""
        ids = np.asarray(indices)
        noises, latents, prompts = self.batch(ids)
        keys = self._index.keys(ids)
        return [
            {"noise": noise, "latent": latent, "prompt": prompt, "key": key}
            for noise, latent, prompt, key in zip(noises, latents, prompts, keys, strict=True)
        ]

    @property
    def shard_sizes(self) -> npt.NDArray[np.int64]:
        """How many pairs each shard has, in the order of the positions."""
        return np.diff(self._index.ends, prepend=0)

    def batch(self, ids: npt.NDArray[np.integer]) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
        """Pairs at positions `ids` [B]: float32 noise, latent [B, C, H, W], prompts.

        Raises IndexError, UserError for a damaged shard, StoreError.
        """
        if len(ids) and not (0 <= ids.min() and ids.max() < len(self)):
            raise IndexError(f"pair positions go from 0 to {len(self) - 1}, asked for {ids.min()} to {ids.max()}")
        count = int(np.prod(self.shape))
        both = np.empty((2, len(ids), count), self.dtype)
        rows = both.view(np.uint8)
        size = rows.shape[2]
        numbers = self._index.stretches(ids)
        maps = self._shards.open(np.unique(numbers).tolist())
        for row, (shard, (noise, latent)) in enumerate(zip(numbers.tolist(), self._index.offsets(ids), strict=True)):
            data = maps[shard]
            rows[0, row] = data[noise : noise + size]
            rows[1, row] = data[latent : latent + size]
        noises, latents = torch.from_numpy(both.reshape(2, len(ids), *self.shape).astype(np.float32, copy=False))
        return noises, latents, self._index.prompts(ids)

    def prefetch(self, ids: npt.NDArray[np.integer]) -> None:
        """Have the shards of the pairs `ids` downloaded in the background, in the order in which they are needed.

        As many as the cache may hold; of a local store none. A later call takes the place of an earlier one.
        """
        numbers: dict[int, None] = {}
        for start in range(0, len(ids), _LOOKED_AT):
            if len(numbers) == len(self._index.shards):
                break
            numbers |= dict.fromkeys(self._index.stretches(ids[start : start + _LOOKED_AT]).tolist())
        self._shards.prefetch([*numbers])

    def __reduce__(self) -> tuple[type[PairDataset], tuple[str]]:
        # a worker process maps the files itself: pickling a map would copy the data set
        return (PairDataset, (self.artifact.uri,))
