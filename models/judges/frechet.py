"""The Frechet distance of features (Heusel et al. 2017), by moments that merge over shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Moments:
    """Count, sum and sum of outer products of feature vectors, in float64: what two shards can add up."""

    count: int = 0
    sum: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))  # a scalar 0 adds to any D
    outer: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    def update(self, features: Tensor) -> None:
        """Add a batch of features [B, D] of any float type and device."""
        rows = features.detach().double().cpu()
        self.count += len(rows)
        self.sum = self.sum + rows.sum(0)
        self.outer = self.outer + rows.T @ rows

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets of samples together."""
        return Moments(self.count + other.count, self.sum + other.sum, self.outer + other.outer)

    @property
    def mean(self) -> Tensor:
        """The mean: float64 [D]."""
        return self.sum / self.count

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance: float64 [D, D]. Raises ValueError below two samples."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least two samples, found {self.count}")
        centred = self.outer - self.count * torch.outer(self.mean, self.mean)
        return centred / (self.count - 1)

    def to_tensors(self) -> dict[str, Tensor]:
        """The moments as tensors for a safetensors file."""
        return {"count": torch.tensor(self.count), "sum": self.sum, "outer": self.outer}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Moments:
        """What :meth:`to_tensors` gave."""
        return cls(int(tensors["count"]), tensors["sum"].double(), tensors["outer"].double())


def frechet_distance(a: Moments, b: Moments) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)) of the covariances A, B (Heusel et al. 2017).

    A B has the eigenvalues of the symmetric A^(1/2) B A^(1/2). No 1e-6 is added to a diagonal: it would shift
    the value by 1-2%. Raises ValueError when a side has fewer than two samples.
    """
    gap, first, second = a.mean - b.mean, a.covariance, b.covariance
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    distance = gap.square().sum() + first.trace() + second.trace() - 2 * cross
    return max(0.0, float(distance))  # equal sides leave a rounding error of either sign
