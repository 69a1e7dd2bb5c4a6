"""The CMMD is the published formula."""

from __future__ import annotations

import open_clip
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.clip import published
from models.judges import cmmd as module
from models.judges.cmmd import ARCHITECTURE, TAG, cmmd, mean_kernel


def features(count: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, 24, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def published_formula(x: Tensor, y: Tensor) -> float:
    """Jayasumana et al., the released code: squared norms, gamma = 1 / (2 sigma^2), means of three kernels."""
    x, y = (side / side.norm(dim=1, keepdim=True) for side in (x, y))
    gamma, of_x, of_y = 1 / (2 * 10**2), x.square().sum(1), y.square().sum(1)
    xx = torch.exp(-gamma * (-2 * x @ x.T + of_x[:, None] + of_x[None])).mean()
    xy = torch.exp(-gamma * (-2 * x @ y.T + of_x[:, None] + of_y[None])).mean()
    yy = torch.exp(-gamma * (-2 * y @ y.T + of_y[:, None] + of_y[None])).mean()
    return float(1000 * (xx + yy - 2 * xy))


@pytest.mark.parametrize("rows", [4096, 17])
def test_equal_to_the_published_formula(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", rows)
    a, b = features(70, 1), features(90, 2, 0.4)
    assert cmmd(a, b) == pytest.approx(published_formula(a, b), rel=1e-9)
    assert cmmd(a.float(), b.float()) == pytest.approx(published_formula(a, b), rel=1e-6)


def test_zero_to_itself_and_symmetric() -> None:
    a, b = features(70, 1), features(90, 2, 0.4)
    assert abs(cmmd(a, a)) < 1e-9 < cmmd(a, b) and cmmd(a, b) == pytest.approx(cmmd(b, a), rel=1e-9)


def test_the_length_of_a_feature_does_not_matter() -> None:
    a, b = features(70, 1), features(90, 2, 0.4)
    assert cmmd(5 * a, b) == pytest.approx(cmmd(a, b), rel=1e-9)
    same = F.normalize(a[:1], dim=1)
    assert float(mean_kernel(same, same)) == pytest.approx(1.0)


def test_the_published_embedding_is_known_to_open_clip() -> None:
    assert open_clip.get_model_config(ARCHITECTURE)["vision_cfg"]["image_size"] == 336
    assert published(ARCHITECTURE, TAG)["quick_gelu"]


def test_no_pictures_are_told() -> None:
    with pytest.raises(ValueError, match="features of 0 pictures"):
        cmmd(features(0, 1), features(90, 2))
