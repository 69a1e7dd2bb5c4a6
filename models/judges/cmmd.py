"""The CLIP maximum mean discrepancy (Jayasumana et al., CVPR 2024): one Gaussian kernel, no assumption of normality."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

SIGMA, SCALE = 10.0, 1000.0
"""The published width of the kernel, and what the value is multiplied by to be readable."""

ARCHITECTURE, TAG = "ViT-L-14-336-quickgelu", "openai"
"""The published embedding: CLIP ViT-L/14 at 336 pixels, OpenAI's weights."""

ROWS = 4096


class Embedded:
    """Image features [N, D] scaled to length 1, and what a distance takes of them alone: once for many distances.

    Raises ValueError for no features.
    """

    def __init__(self, features: Tensor) -> None:
        if not len(features):
            raise ValueError("features of 0 pictures; expected at least one")
        self.rows = F.normalize(features.double(), dim=1)

    @cached_property
    def within(self) -> Tensor:
        """The mean of the kernel over all pairs, each with itself included, as published."""
        return mean_kernel(self.rows, self.rows)


def discrepancy(a: Embedded, b: Embedded) -> float:
    """1000 (E k(a, a') + E k(b, b') - 2 E k(a, b)), k(x, y) = exp(-||x - y||^2 / (2 * 10^2))."""
    return float(SCALE * (a.within + b.within - 2 * mean_kernel(a.rows, b.rows)))


def cmmd(generated: Tensor, real: Tensor) -> float:
    """The discrepancy of image features [N, D] and [M, D]. Raises ValueError for no features."""
    return discrepancy(Embedded(generated), Embedded(real))


def mean_kernel(a: Tensor, b: Tensor) -> Tensor:
    """The mean of the kernel over all pairs of rows of unit length."""
    total = a.new_zeros(())
    for rows in torch.split(a, ROWS):
        for others in torch.split(b, ROWS):
            total = total + torch.expm1((rows @ others.T - 1) / SIGMA**2).sum()  # near 1: the digits are in what is off
    return 1 + total / (len(a) * len(b))
