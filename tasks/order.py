"""Data order and randomness as functions of (seed, position): there is no loader state to lose (EDM2's pattern)."""

import hashlib
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from a path of names and numbers, e.g. ``derive_seed(0, "pairs", 17)``."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Draws:
    """The random numbers of a path of names and numbers, as tensors.

    Philox is keyed with the whole seed; of a seed torch's CPU generator keeps the low 32 bits, so that among 1.6 M
    samples some 300 pairs would share their noise.
    """

    def __init__(self, *parts: int | str) -> None:
        self._philox = _philox(derive_seed(*parts))

    def normal(self, *shape: int) -> torch.Tensor:
        """Standard normal numbers, float32."""
        return torch.from_numpy(self._philox.standard_normal(shape, dtype=np.float32))

    def uniform(self, *shape: int) -> torch.Tensor:
        """Numbers in [0, 1), float32."""
        return torch.from_numpy(self._philox.random(shape, dtype=np.float32))

    def integers(self, below: int, *shape: int) -> torch.Tensor:
        """Whole numbers in [0, below), int64."""
        return torch.from_numpy(self._philox.integers(below, size=shape))


def _philox(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, count: int) -> NDArray[np.integer]:
    kind = np.uint32 if count <= 1 << 32 else np.int64  # it has millions of numbers, and is kept
    found: NDArray[np.integer] = np.arange(count, dtype=kind)
    np.random.Generator(np.random.PCG64([seed, epoch])).shuffle(found)
    return found


def sample_ids(seed: int, start: int, stop: int, count: int) -> NDArray[np.int64]:
    """The sample ids at places ``start`` to ``stop`` of an endless row of shuffled epochs, [stop - start].

    Raises ValueError when there is nothing to draw from.
    """
    if count < 1:
        raise ValueError("no samples to train on: count is 0")
    epochs = range(start // count, -(-stop // count))
    parts = [_permutation(seed, epoch, count)[max(0, start - epoch * count) : stop - epoch * count] for epoch in epochs]
    return np.concatenate([np.empty(0, np.int64), *parts])


def batch_ids(
    seed: int, step: int, batch_size: int, count: int, rank: int = 0, world_size: int = 1
) -> NDArray[np.int64]:
    """The sample ids of one rank at training step ``step``, in shuffled epochs, [batch_size / world_size].

    Raises ValueError when there is nothing to draw from and when the ranks' shares would not be equal.
    """
    return sample_ids(seed, *places(step, batch_size, rank, world_size), count)


def places(step: int, batch_size: int, rank: int = 0, world_size: int = 1) -> tuple[int, int]:
    """From which to which place of an endless row one rank's share of a step's batch goes.

    The ranks' shares one after the other are the batch, whatever the number of ranks. Raises ValueError when they would
    not be equal.
    """
    share, rest = divmod(batch_size, world_size)
    if rest:
        raise ValueError(f"a batch of {batch_size} samples has no equal shares for {world_size} ranks")
    start = step * batch_size + rank * share
    return start, start + share


def sample_noise(seeds: list[int], shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal noise [B, *shape], one generator per sample, so that it does not depend on the batch."""
    noise = np.stack([_philox(seed).standard_normal(shape, dtype=np.float32) for seed in seeds])
    return torch.from_numpy(noise)
