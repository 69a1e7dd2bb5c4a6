"""The Frechet distance of two sets of features (Heusel et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """The normal distribution of a set of features: its mean [D], and a factor [K, D] of its covariance, in float64.

    covariance = factor^T factor, with K the smaller of samples and dimensions: of a few pictures with 2,048 features
    nothing has 2,048 rows.
    """

    mean: Tensor
    factor: Tensor

    @classmethod
    def of(cls, features: Tensor, times: Tensor | None = None) -> Gaussian:
        """Of features [N, D], each counted ``times`` [N], once by default. Raises ValueError below two samples."""
        rows = features.double()
        times = torch.ones(len(rows), dtype=torch.float64, device=rows.device) if times is None else times.to(rows)
        count = times.sum()
        if count < 2:
            raise ValueError(f"a covariance needs at least two samples, found {int(count)}")
        mean = times @ rows / count
        centred = (rows - mean) * (times / (count - 1)).sqrt()[:, None]
        return cls(mean, centred if len(rows) <= rows.shape[1] else torch.linalg.qr(centred, mode="r").R)

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance: float64 [D, D]."""
        return self.factor.T @ self.factor

    def frechet_distance(self, other: Gaussian) -> float:
        """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)) of the covariances A, B.

        With A = F^T F and B = G^T G, A B has the eigenvalues of (F G^T)(F G^T)^T. No 1e-6 is added to a diagonal: it
        would shift the value by 1-2%.
        """
        between = self.factor @ other.factor.T
        gram = between @ between.T if len(between) <= between.shape[1] else between.T @ between
        cross = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().sum()
        spread = self.factor.square().sum() + other.factor.square().sum()
        distance = (self.mean - other.mean).square().sum() + spread - 2 * cross
        return max(0.0, float(distance))  # equal sides leave a rounding error of either sign


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """The Frechet distance of two sets of features [N, D], [M, D]. Raises ValueError below two samples."""
    return Gaussian.of(a).frechet_distance(Gaussian.of(b))
