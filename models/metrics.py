"""The Frechet distance: moments that merge over shards, and the Inception features it is usually taken of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

Features = Callable[[Tensor], Tensor]
"""features(uint8 pictures [B, 3, H, W]) -> float [B, D]."""


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


def inception_features(weights: Path) -> Features:
    """The 2048 pooled features of torch-fidelity's InceptionV3 (the network of FID), float32 on the CPU.

    The network runs where its input lies. Raises FileNotFoundError without the file, RuntimeError or
    UnpicklingError when it is no state dict of that network.
    """
    if not weights.is_file():
        raise FileNotFoundError(
            f"inception weights: no file {weights}; expected torch-fidelity's InceptionV3 state dict"
        )
    torch.load(weights, map_location="cpu", weights_only=True)  # the next line would run any pickle
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights))

    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        return network.to(images.device)(images)[0].float().cpu()

    return features
