"""The kernel distance is torch-fidelity's, on the same subsets."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

from models.judges.kid import kernel_distances, squared_mmd


def features(count: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, 40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).abs() + shift


@pytest.mark.parametrize(("size", "seed"), [(50, 2020), (80, 7)])
def test_equal_to_torch_fidelity(size: int, seed: int) -> None:
    a, b = features(90, 1), features(120, 2, 0.1)
    peer = kid_features_to_metric(a, b, kid_subsets=10, kid_subset_size=size, rng_seed=seed, verbose=False)
    found = kernel_distances(a, b, 10, size, seed)
    assert float(found.mean()) == pytest.approx(peer[KEY_METRIC_KID_MEAN], rel=1e-9)
    assert float(found.std(unbiased=False)) == pytest.approx(peer[KEY_METRIC_KID_STD], rel=1e-9)


def test_single_precision_features_lose_nothing_more() -> None:
    a, b = features(90, 1).float(), features(120, 2, 0.1).float()
    peer = kid_features_to_metric(a.double(), b.double(), kid_subsets=10, kid_subset_size=50, verbose=False)
    assert float(kernel_distances(a, b, 10, 50).mean()) == pytest.approx(peer[KEY_METRIC_KID_MEAN], rel=1e-9)


def test_it_is_unbiased_and_zero_for_the_same_distribution() -> None:
    found = kernel_distances(features(2000, 1), features(2000, 2), 40, 200)
    assert abs(float(found.mean())) < 3 * float(found.std())
    assert float(found.min()) < 0 < float(found.max()), "no bias pushes it above nought"


def test_two_points_by_hand() -> None:
    a, b = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double(), torch.tensor([[1.0, 1.0], [1.0, 1.0]]).double()
    # k(a1, a2) = 1, k(b1, b2) = (2 / 2 + 1)^3 = 8, k(a, b) = (1 / 2 + 1)^3
    assert float(squared_mmd(a, b)) == pytest.approx(1 + 8 - 2 * 1.5**3)


def test_too_few_pictures_are_told() -> None:
    with pytest.raises(ValueError, match="subset_size: 1000; expected 2 to 90, the number of pictures"):
        kernel_distances(features(90, 1), features(120, 2))
