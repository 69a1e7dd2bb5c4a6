"""A committed pairs artifact as a torch Dataset, with exact random access."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from infra.artifact import Artifact
from infra.errors import UserError
from infra.store import Store

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
    """Pairs in the order of their index; `artifact` is an open one or its URI.

    Opening checks the sha256 of the index and of every shard before a sample is given, and maps the shards:
    reading a sample then copies its bytes and nothing else. Raises UserError for a damaged shard and for
    pairs of more than one shape.
    """

    def __init__(self, artifact: Artifact | str) -> None:
        if isinstance(artifact, str):
            artifact = Artifact.find(Store.open("."), artifact)
        self.artifact = artifact
        table = _read_index(artifact)
        self._keys = table["key"]
        self._prompts = table["prompt"]
        self._offsets = np.stack([table["noise_offset"].to_numpy(), table["latent_offset"].to_numpy()], axis=1)
        self.dtype, self.shape = _one_layout(artifact, table)
        shards = table["shard"].combine_chunks().dictionary_encode()
        self._shard_of = shards.indices.to_numpy()
        self._maps = [np.memmap(artifact.fetch(name), np.uint8, "r") for name in shards.dictionary.to_pylist()]

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> Pair:
        noise, latent, prompts = self.batch(np.array([index]))
        return {
            "noise": noise[0],
            "latent": latent[0],
            "prompt": prompts[0],
            "key": self._keys[index].as_py(),
        }

    def batch(self, ids: npt.NDArray[np.integer]) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
        """Pairs at positions `ids` [B]: float32 noise, latent [B, C, H, W], prompts. Raises IndexError."""
        if len(ids) and not (0 <= ids.min() and ids.max() < len(self)):
            raise IndexError(f"pair positions go from 0 to {len(self) - 1}, asked for {ids.min()} to {ids.max()}")
        count = int(np.prod(self.shape))
        both = np.empty((2, len(ids), count), self.dtype)
        rows = both.view(np.uint8)
        size = rows.shape[2]
        for row, (shard, (noise, latent)) in enumerate(
            zip(self._shard_of[ids].tolist(), self._offsets[ids].tolist(), strict=True)
        ):
            data = self._maps[shard]
            rows[0, row] = data[noise : noise + size]
            rows[1, row] = data[latent : latent + size]
        noises, latents = torch.from_numpy(both.reshape(2, len(ids), *self.shape).astype(np.float32, copy=False))
        return noises, latents, self._prompts.take(ids).to_pylist()

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
