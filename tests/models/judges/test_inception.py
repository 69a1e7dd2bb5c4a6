"""Inception's features are torch-fidelity's, or clean-fid's resizing before the same network; so are FID and KID."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cleanfid.resize import build_resizer
from PIL import Image
from torch import Tensor
from torch_fidelity import feature_extractor_inceptionv3
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from models.judges.frechet import frechet_distance
from models.judges.inception import Inception
from tasks.data.picture_batches import read_image
from tests.models.judges.networks import inception, pictures


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inception") / "weights.pth"


@pytest.fixture(scope="module")
def peer(weights: Path) -> FeatureExtractorInceptionV3:
    return inception(weights)


@pytest.mark.parametrize("side", [32, 256, 299])
def test_features_are_torch_fidelitys(side: int, weights: Path, peer: FeatureExtractorInceptionV3) -> None:
    images = pictures(2, side)
    found = Inception(weights)(images)
    assert found.shape == (2, 2048) and found.dtype == torch.float32
    assert torch.equal(found, peer(images)[0])
    assert (found[0] - found[1]).abs().max() > 1e-3, "the random network does not collapse"


def _cleanly(images: Tensor) -> Tensor:
    """The pictures as clean-fid resizes them."""
    resize = build_resizer("clean")
    return torch.from_numpy(np.stack([resize(one.permute(1, 2, 0).numpy()) for one in images])).permute(0, 3, 1, 2)


@pytest.mark.parametrize("side", [64, 400])
def test_the_clean_resizing_is_clean_fids(
    side: int, weights: Path, peer: FeatureExtractorInceptionV3, monkeypatch: pytest.MonkeyPatch
) -> None:
    # torch-fidelity asks for whole numbers, which it makes floating point first of all; at 299 it resizes nothing
    monkeypatch.setattr(feature_extractor_inceptionv3, "vassert", lambda *_: None)
    images = pictures(2, side)
    found = Inception(weights, "clean")(images)
    torch.testing.assert_close(found, peer(_cleanly(images))[0], rtol=1e-6, atol=1e-6)
    assert not torch.allclose(found, Inception(weights)(images), rtol=1e-4), "antialias is another protocol"


KEPT = 4
"""Features that are compared: of more features than pictures torch-fidelity takes the root of a matrix without one."""


def test_the_distance_of_files_is_torch_fidelitys(
    weights: Path, peer: FeatureExtractorInceptionV3, tmp_path: Path
) -> None:
    judge, found, expected = Inception(weights), [], []
    for seed in (1, 2):
        ours, features = [], []
        for number, one in enumerate(pictures(6, 64, seed)):
            path = tmp_path / f"{seed}-{number}.png"
            Image.fromarray(one.permute(1, 2, 0).numpy()).save(path)
            ours.append(judge(read_image(path)[None])[:, :KEPT])
            features.append(peer(torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None])[0][:, :KEPT])
        found.append(torch.cat(ours))
        expected.append(fid_features_to_statistics(torch.cat(features).double()))
    value = fid_statistics_to_metric(*expected, verbose=False)[KEY_METRIC_FID]
    assert value > 0 and frechet_distance(*found) == pytest.approx(value, rel=1e-6)


def test_weights_must_be_there_and_this_networks(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file .*absent\.pth"):
        Inception(tmp_path / "absent.pth")
    contents = {"pickle.pth": {"path": Path("x")}, "other.pth": {"features.0.weight": torch.zeros(1)}, "list.pth": [1]}
    for name, content in contents.items():
        torch.save(content, tmp_path / name)
    (tmp_path / "text.pth").write_text("<html>")
    (tmp_path / "empty.pth").touch()
    for name in (*contents, "text.pth", "empty.pth"):
        with pytest.raises(ValueError, match=rf"inception weights: .*{name} is no state dict of .*expected weights-"):
            Inception(tmp_path / name)


def test_what_is_no_picture_is_refused(weights: Path, peer: FeatureExtractorInceptionV3) -> None:
    for wrong in (torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.uint8)):
        for resize in ("tensorflow", "clean"):
            with pytest.raises(ValueError, match=r"a judge takes uint8 \[B, 3, H, W\]"):
                Inception(weights, resize)(wrong)  # type: ignore[arg-type]
