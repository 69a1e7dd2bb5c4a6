"""A committed pairs artifact as a torch Dataset, with exact random access."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from infra.artifact import Artifact
from infra.errors import UserError
from infra.shards.maps import ShardMaps
from infra.store import open_store

if TYPE_CHECKING:
    import pyarrow as pa

_ROW = ["key", "prompt", "shard", "noise_offset", "latent_offset", "dtype", "shape"]


class Pair(TypedDict):
    """noise and latent are float32 [C, H, W]."""

    noise: torch.Tensor
    latent: torch.Tensor
    prompt: str
    key: str


class PairDataset(Dataset[Pair]):
    """Pairs in the order of their index; `artifact` is an open one or its URI, `store/pairs/fingerprint`.

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
        table = _read_index(artifact)
        self._keys = table["key"]
        self._prompts = table["prompt"]
        self._offsets = np.stack([table["noise_offset"].to_numpy(), table["latent_offset"].to_numpy()], axis=1)
        self.dtype, self.shape = _one_layout(artifact, table)
        shards = table["shard"].combine_chunks().dictionary_encode()
        self._shard_of = shards.indices.to_numpy()
        self._shards = ShardMaps(artifact, shards.dictionary.to_pylist())

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> Pair:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Pair]:
        """Several pairs at once, as a DataLoader asks for its batches."""
        ids = np.asarray(indices)
        noises, latents, prompts = self.batch(ids)
        keys = self._keys.take(ids).to_pylist()
        return [
            {"noise": noise, "latent": latent, "prompt": prompt, "key": key}
            for noise, latent, prompt, key in zip(noises, latents, prompts, keys, strict=True)
        ]

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
        numbers = self._shard_of[ids]
        maps = self._shards.open(np.unique(numbers).tolist())
        for row, (shard, (noise, latent)) in enumerate(zip(numbers.tolist(), self._offsets[ids].tolist(), strict=True)):
            data = maps[shard]
            rows[0, row] = data[noise : noise + size]
            rows[1, row] = data[latent : latent + size]
        noises, latents = torch.from_numpy(both.reshape(2, len(ids), *self.shape).astype(np.float32, copy=False))
        return noises, latents, self._prompts.take(ids).to_pylist()

    def prefetch(self, ids: npt.NDArray[np.integer]) -> None:
        """Have the shards of the pairs `ids` downloaded in the background, in the order in which they are needed.

        As many as the cache may hold; of a local store none. A later call takes the place of an earlier one.
        """
        numbers, first = np.unique(self._shard_of[ids], return_index=True)
        self._shards.prefetch(numbers[np.argsort(first)].tolist())

    def __reduce__(self) -> tuple[type[PairDataset], tuple[str]]:
        # a worker process maps the files itself: pickling a map would copy the data set
        return (PairDataset, (self.artifact.uri,))


def _read_index(artifact: Artifact) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.read_table(artifact.fetch("index.parquet"), columns=_ROW).combine_chunks()


def _one_layout(artifact: Artifact, table: pa.Table) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    if table.num_rows == 0:
        raise UserError(f"{artifact.uri}: index.parquet: no pairs; expected some. See why in quarantine.parquet.")
    dtypes, shape = table["dtype"].unique().to_pylist(), tuple(table["shape"][0].as_py())
    shapes = table["shape"].combine_chunks().flatten().to_numpy()
    same = len(shapes) == table.num_rows * len(shape) and (shapes.reshape(-1, len(shape)) == shape).all()
    if len(dtypes) != 1 or not same:
        raise UserError(
            f"{artifact.uri}: index.parquet: found {', '.join(dtypes)} and shapes other than {shape},"
            " expected one kind. The pairs come from different models: make them again with one."
        )
    return np.dtype(dtypes[0]), shape
