"""Pairs of one or several artifacts as one set to train on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from infra.artifact import Source
from infra.errors import UserError
from infra.pairs import PairDataset
from tasks.data.inputs import as_artifact

Ids = npt.NDArray[np.int64]


class PairSets:
    """Sets of pairs one after the other. Raises UserError where they have latents of different shapes."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sets = [PairDataset(as_artifact(source)) for source in sources]
        self._ends = np.cumsum([len(pairs) for pairs in self._sets])
        first, *others = self._sets
        for other in others:
            if other.shape != first.shape:
                raise UserError(
                    f"{other.artifact.uri}: pairs of shape {other.shape}, but {first.artifact.uri} has {first.shape};"
                    " expected one shape. They come from different models: make them again with one."
                )

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def digest(self) -> str:
        """What is trained on, by content."""
        return "+".join(pairs.artifact.digest for pairs in self._sets)

    @property
    def shard_sizes(self) -> Ids:
        """How many pairs each shard has, in the order of the positions."""
        return np.concatenate([pairs.shard_sizes for pairs in self._sets])

    def batch(self, ids: Ids) -> tuple[Tensor, Tensor, list[str]]:
        """Pairs at positions ``ids`` [B]: noise, latent [B, C, H, W], prompts. UserError for damage, StoreError."""
        noises, latents, texts = zip(*(pairs.batch(own) for pairs, own in self._split(ids)), strict=True)
        order, prompts = self._order(ids), [prompt for some in texts for prompt in some]
        return torch.cat(noises)[order], torch.cat(latents)[order], [prompts[place] for place in order.tolist()]

    def prefetch(self, ids: Ids) -> None:
        """Have the shards of the pairs downloaded ahead, in the order of need."""
        for pairs, own in self._split(ids):
            pairs.prefetch(own)

    def _split(self, ids: Ids) -> list[tuple[PairDataset, Ids]]:
        if len(self._sets) == 1:
            return [(self._sets[0], ids)]
        which = self._which(ids)
        starts = self._ends - [len(pairs) for pairs in self._sets]
        return [(pairs, ids[which == number] - starts[number]) for number, pairs in enumerate(self._sets)]

    def _which(self, ids: Ids) -> Ids:
        return np.searchsorted(self._ends, ids, side="right")

    def _order(self, ids: Ids) -> Tensor:
        """Where in the sets' rows, one after the other, the row of each id is."""
        return torch.from_numpy(np.argsort(np.argsort(self._which(ids), kind="stable"), kind="stable"))
