"""Precision and recall are torch-fidelity's, and what one expects of two modes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from models.judges import precision_recall as module
from models.judges.precision_recall import covered, precision_recall, radii


def features(count: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)) + shift


@pytest.mark.parametrize("neighbours", [1, 3, 5])
@pytest.mark.parametrize("rows", [10_000, 37])
def test_equal_to_torch_fidelity(neighbours: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", rows)
    generated, real = features(150, 1, 0.5), features(130, 2)
    peer = prc_features_to_metric(generated, real, prc_neighborhood=neighbours, prc_batch_size=rows, verbose=False)
    found = precision_recall(generated, real, neighbours)
    assert found == pytest.approx((peer[KEY_METRIC_PRECISION], peer[KEY_METRIC_RECALL]), rel=1e-6)
    assert 0 < found[0] < 1 and 0 < found[1] < 1


def test_a_mode_that_is_missing_costs_recall_and_no_precision() -> None:
    real = torch.cat([features(100, 1), features(100, 2, 50)])
    assert precision_recall(real, real) == (1.0, 1.0)
    precision, recall = precision_recall(features(100, 3), real)
    assert precision > 0.8 and 0.35 < recall < 0.5


def test_the_balls_of_real_pictures_serve_any_number_of_models() -> None:
    real, generated = features(60, 1), features(80, 2)
    balls = radii(real)
    parts = [covered(part, real, balls) for part in torch.split(generated, 30)]
    assert torch.cat(parts).dtype == torch.bool
    assert float(torch.cat(parts).double().mean()) == precision_recall(generated, real)[0]


def test_too_few_pictures_are_told() -> None:
    with pytest.raises(ValueError, match="neighbours: 3; expected fewer than the 3 pictures"):
        radii(features(3, 1))
