"""Precision and recall of pictures by nearest neighbours (Kynkaanniemi et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

NEIGHBOURS = 3
ROWS = 10_000
"""Rows compared at once with all others, 1.2 GB of distances for 30,000 pictures: torch-fidelity's number."""


def radii(features: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """Of each of the features [N, D] the distance to its k-th nearest other one, [N]: the ball it stands for.

    Raises ValueError when there are not so many others.
    """
    if len(features) <= neighbours:
        raise ValueError(f"neighbours: {neighbours}; expected fewer than the {len(features)} pictures")
    # a feature is its own nearest one
    return torch.cat(
        [_distances(rows, features).kthvalue(neighbours + 1).values for rows in torch.split(features, ROWS)]
    )


def covered(features: Tensor, others: Tensor, radii: Tensor) -> Tensor:
    """Which of the features [N, D] lie in the ball of any of the others [M, D]: bool [N].

    Precision is the mean over generated features in the balls of real ones, recall that of real in generated.
    """
    return torch.cat([(_distances(rows, others) <= radii).any(1) for rows in torch.split(features, ROWS)])


def precision_recall(generated: Tensor, real: Tensor, neighbours: int = NEIGHBOURS) -> tuple[float, float]:
    """The fractions of generated pictures that could be real, and of real ones that could be generated."""
    precise = covered(generated, real, radii(real, neighbours))
    recalled = covered(real, generated, radii(generated, neighbours))
    return float(precise.double().mean()), float(recalled.double().mean())


def _distances(rows: Tensor, others: Tensor) -> Tensor:
    return torch.cat([torch.cdist(rows, some) for some in torch.split(others, ROWS)], dim=1)
