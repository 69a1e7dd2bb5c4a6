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


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded by :func:`derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(*parts))


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(count)


def batch_ids(seed: int, step: int, batch_size: int, count: int) -> NDArray[np.int64]:
    """The sample ids of training step ``step``: consecutive places in an endless row of shuffled epochs, [batch_size].

    Raises ValueError when there is nothing to draw from.
    """
    if count < 1:
        raise ValueError("no samples to train on: count is 0")
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    return np.array([_permutation(seed, int(place // count), count)[place % count] for place in places])


def sample_noise(seeds: list[int], shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal noise [B, *shape], one generator per sample, so that it does not depend on the batch."""
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
