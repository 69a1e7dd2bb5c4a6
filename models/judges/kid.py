"""The kernel Inception distance (Binkowski et al. 2018): an unbiased MMD with a cubic kernel, over subsets."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SUBSETS, SUBSET_SIZE = 100, 1000
"""As published, and as torch-fidelity has it."""


def kernel_distances(
    generated: Tensor, real: Tensor, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE, seed: int = 2020
) -> Tensor:
    """The squared MMD of each pair of random subsets of features [N, D] and [M, D]: float64 [subsets].

    Their mean is the KID, their spread its uncertainty. The subsets are torch-fidelity's for the seed. Raises
    ValueError when there are fewer features than a subset takes.
    """
    if min(len(generated), len(real)) < subset_size or subset_size < 2:
        raise ValueError(
            f"subset_size: {subset_size}; expected 2 to {min(len(generated), len(real))}, the number of pictures"
        )
    rng, found = np.random.RandomState(seed), []
    for _ in range(subsets):
        first, second = (
            torch.from_numpy(rng.choice(len(side), subset_size, replace=False)) for side in (generated, real)
        )
        found.append(squared_mmd(generated[first].double(), real[second].double()))
    return torch.stack(found)


def squared_mmd(a: Tensor, b: Tensor) -> Tensor:
    """The unbiased estimate of E k(a, a') + E k(b, b') - 2 E k(a, b), k(x, y) = (x y / D + 1)^3; a, b [N, D]."""
    count = len(a)
    within = sum((_cubic(side, side).sum() - _cubic_norms(side).sum() for side in (a, b)), a.new_zeros(()))
    return within / (count * (count - 1)) - 2 * _cubic(a, b).mean()


def _cubic(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _cubic_norms(a: Tensor) -> Tensor:
    """The diagonal of the kernel."""
    return (a.square().sum(1) / a.shape[1] + 1) ** 3
