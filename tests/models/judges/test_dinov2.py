"""DINOv2's features are those of transformers' own class and preprocessing; other folders are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms import Compose, InterpolationMode, Normalize, Resize, ToTensor
from transformers import Dinov2Model

from models.judges.dinov2 import DinoV2
from tests.models.judges.networks import dinov2, pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dinov2")


@pytest.fixture(scope="module")
def peer(folder: Path) -> Dinov2Model:
    return dinov2(folder)


@pytest.mark.parametrize("side", [64, 224, 300])
def test_features_are_those_of_the_published_preprocessing(side: int, folder: Path, peer: Dinov2Model) -> None:
    prepare = Compose(
        [
            Resize((224, 224), InterpolationMode.BICUBIC),
            ToTensor(),
            Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    images = pictures(2, side)
    pixels = torch.stack([prepare(Image.fromarray(one.permute(1, 2, 0).numpy())) for one in images])
    with torch.no_grad():
        expected = peer(pixels).last_hidden_state[:, 0]
    found = DinoV2(folder)(images)
    assert found.shape == (2, 32) and found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_a_folder_must_be_there_and_this_networks(folder: Path, peer: Dinov2Model, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file .*config\.json; expected a folder"):
        DinoV2(tmp_path)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(ValueError, match="does not load"):
        DinoV2(tmp_path)


def test_weights_that_lack_something_are_not_made_up(folder: Path, peer: Dinov2Model, tmp_path: Path) -> None:
    state = {name: value for name, value in peer.state_dict().items() if "layernorm" not in name}
    peer.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ValueError, match=r"lacks 2 tensors of the network, first layernorm\.bias"):
        DinoV2(tmp_path)
