"""The Frechet distance: closed forms, torch-fidelity's own number, and sums over shards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cleanfid.fid import frechet_distance as clean_fid
from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from models.judges.frechet import Gaussian, frechet_distance


def features(count: int, dimension: int, seed: int, rank: int | None = None) -> Tensor:
    """Correlated features of a mean that is not 0, optionally in a subspace."""
    rng = torch.Generator().manual_seed(seed)
    mixing = torch.randn(rank or dimension, dimension, generator=rng, dtype=torch.float64)
    return torch.randn(count, len(mixing), generator=rng, dtype=torch.float64) @ mixing + 3 + seed


@pytest.mark.parametrize(
    ("count", "dimension", "rank"), [(500, 32, None), (64, 64, None), (40, 64, None), (500, 64, 8)]
)
def test_equal_to_torch_fidelity(count: int, dimension: int, rank: int | None) -> None:
    a, b = features(count, dimension, 1, rank), features(count + 50, dimension, 2, rank)
    stats = [fid_features_to_statistics(x) for x in (a, b)]
    peer = fid_statistics_to_metric(*stats, verbose=False)[KEY_METRIC_FID]
    assert frechet_distance(a, b) == pytest.approx(peer, rel=1e-6)


@pytest.mark.parametrize(("count", "dimension"), [(500, 32), (120, 64)])
def test_equal_to_clean_fid(count: int, dimension: int) -> None:
    a, b = features(count, dimension, 1), features(count + 50, dimension, 2)
    peer = clean_fid(*(part for x in (a, b) for part in (x.mean(0).numpy(), np.cov(x.numpy(), rowvar=False))))
    assert frechet_distance(a, b) == pytest.approx(float(peer), rel=1e-6)


def test_two_gaussians_of_known_moments() -> None:
    # mean +- a multiple of std along each axis: exact moments, and diagonal roots are taken elementwise
    def exact(mean: list[float], std: list[float]) -> Tensor:
        axes = torch.diag(torch.tensor(std)).double()
        spread = ((2 * len(std) - 1) / 2) ** 0.5
        return torch.cat([spread * axes, -spread * axes]) + torch.tensor(mean)

    a, b = exact([0.0, 1.0, 2.0], [1.0, 2.0, 0.5]), exact([1.0, -1.0, 2.0], [3.0, 2.0, 0.1])
    assert torch.allclose(Gaussian.of(a).covariance, torch.diag(torch.tensor([1.0, 4.0, 0.25])).double())
    expected = (1 + 4) + (1 - 3) ** 2 + 0 + (0.5 - 0.1) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_rotation_of_commuting_covariances_changes_nothing() -> None:
    a, b = features(300, 6, 1), features(300, 6, 2)
    rotation = torch.linalg.qr(features(6, 6, 3)).Q
    assert frechet_distance(a @ rotation, b @ rotation) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_a_distance_is_symmetric_and_zero_to_itself() -> None:
    a, b = features(100, 16, 1), features(100, 16, 2)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert 0 <= frechet_distance(a, a) < 1e-8 * float(Gaussian.of(a).covariance.trace())


@pytest.mark.parametrize("shards", [1, 3, 7])
def test_the_distance_is_the_same_in_any_number_and_order_of_shards(shards: int) -> None:
    a, b = features(700, 48, 1).float(), features(500, 48, 2).float()
    parts = [*torch.chunk(a, shards)][::-1]
    assert len(parts) == shards
    assert frechet_distance(torch.cat(parts), b) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_single_precision_features_are_summed_in_double() -> None:
    base = features(20_000, 4, 1).float()
    expected = np.cov(base.double().numpy(), rowvar=False)
    assert np.allclose(Gaussian.of(base).covariance.numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("dimension", [3, 40])
def test_a_sample_counts_as_often_as_it_is_told(dimension: int) -> None:
    values = features(6, dimension, 1)
    times = torch.tensor([2.0, 0, 1, 3, 0, 1], dtype=torch.float64)
    told, repeated = Gaussian.of(values, times), Gaussian.of(values.repeat_interleave(times.long(), 0))
    torch.testing.assert_close(told.mean, repeated.mean)
    torch.testing.assert_close(told.covariance, repeated.covariance)


def test_few_samples_of_many_dimensions_need_no_large_matrix() -> None:
    few = Gaussian.of(features(5, 2048, 1))
    assert few.factor.shape == (5, 2048)
    assert few.frechet_distance(Gaussian.of(features(300, 2048, 1))) > 0
    assert Gaussian.of(features(100, 8, 1)).factor.shape == (8, 8)


def test_one_sample_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="at least two samples, found 1"):
        frechet_distance(features(1, 4, 1), features(9, 4, 1))
