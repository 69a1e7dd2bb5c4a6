"""The Frechet distance of features (Heusel et al. 2017), by moments that merge over shards."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

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

    @classmethod
    def of(cls, features: Tensor, times: Tensor) -> Moments:
        """The moments of float64 features [N, D], each counted ``times`` [N]."""
        weighted = features * times[:, None]
        return cls(int(times.sum()), weighted.sum(0), weighted.T @ features)

    @property
    def gaussian(self) -> Gaussian:
        """The normal distribution of these moments. Raises ValueError below two samples."""
        return Gaussian(self.mean, self.covariance)

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


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution of features: mean [D] and covariance [D, D] in float64."""

    mean: Tensor
    covariance: Tensor

    @cached_property
    def root(self) -> Tensor:
        """The symmetric square root of the covariance: whatever else is compared with it, it is taken once."""
        values, vectors = torch.linalg.eigh(self.covariance)
        return (vectors * values.clamp(min=0).sqrt()) @ vectors.T

    def frechet_distance(self, other: Gaussian) -> float:
        """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)) of the covariances A, B (Heusel et al. 2017).

        A B has the eigenvalues of the symmetric B^(1/2) A B^(1/2). No 1e-6 is added to a diagonal: it would shift
        the value by 1-2%.
        """
        gap = self.mean - other.mean
        cross = torch.linalg.eigvalsh(other.root @ self.covariance @ other.root).clamp(min=0).sqrt().sum()
        distance = gap.square().sum() + self.covariance.trace() + other.covariance.trace() - 2 * cross
        return max(0.0, float(distance))  # equal sides leave a rounding error of either sign


def frechet_distance(a: Moments, b: Moments) -> float:
    """The Frechet distance of two sets of features. Raises ValueError when one has fewer than two samples."""
    return a.gaussian.frechet_distance(b.gaussian)
