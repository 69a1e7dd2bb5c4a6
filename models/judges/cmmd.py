"""The CLIP maximum mean discrepancy (Jayasumana et al., CVPR 2024): one Gaussian kernel, no assumption of normality."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SIGMA, SCALE = 10.0, 1000.0
"""The published width of the kernel, and what the value is multiplied by to be readable."""

ARCHITECTURE, TAG = "ViT-L-14-336-quickgelu", "openai"
"""The published embedding: CLIP ViT-L/14 at 336 pixels, OpenAI's weights."""

ROWS = 4096


def cmmd(generated: Tensor, real: Tensor) -> float:
    """1000 (E k(a, a') + E k(b, b') - 2 E k(a, b)) of image features [N, D] and [M, D], each scaled to length 1.

    k(x, y) = exp(-||x - y||^2 / (2 * 10^2)); the means include each feature with itself, as published. Raises
    ValueError for no features.
    """
    if not len(generated) or not len(real):
        raise ValueError(f"features of {len(generated)} and {len(real)} pictures; expected at least one each")
    a, b = (F.normalize(side.double(), dim=1) for side in (generated, real))
    return float(SCALE * (mean_kernel(a, a) + mean_kernel(b, b) - 2 * mean_kernel(a, b)))


def mean_kernel(a: Tensor, b: Tensor) -> Tensor:
    """The mean of the kernel over all pairs of rows of unit length. Of real pictures with themselves: once for all."""
    total = a.new_zeros(())
    for rows in torch.split(a, ROWS):
        for others in torch.split(b, ROWS):
            total = total + torch.expm1((rows @ others.T - 1) / SIGMA**2).sum()  # near 1: the digits are in what is off
    return 1 + total / (len(a) * len(b))
