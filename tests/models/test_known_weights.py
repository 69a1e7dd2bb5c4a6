"""A file of another network is told by its names and sizes; the real networks' own names are taken."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch
import torchvision
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from models.known_weights import (
    cached_trunk,
    check_clip,
    check_dinov2,
    check_inception,
    check_trunk,
)
from models.perceptual import Lpips, load_trunk

TRUNKS = {"vgg": torchvision.models.vgg16, "alex": torchvision.models.alexnet}


def saved(network: nn.Module, path: Path) -> Path:
    """The network's names and shapes; the numbers take no room."""
    torch.save(flat(network), path)
    return path


def flat(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: torch.zeros((), device="cpu").expand(value.shape) for name, value in network.state_dict().items()}


class Inception(FeatureExtractorInceptionV3):  # type: ignore[misc]  # torch-fidelity is untyped
    """torch-fidelity's network without its numbers."""

    def load_state_dict(self, *_: object, **__: object) -> None: ...


def on_meta(architecture: str) -> nn.Module:
    found: nn.Module = open_clip.create_model(architecture, device="meta")
    return found


# lpips itself asks torchvision in an old way
@pytest.mark.filterwarnings("ignore:.*(pretrained|weight enum):UserWarning")
@pytest.mark.parametrize("network", TRUNKS)
def test_a_trunk_is_taken_with_and_without_its_classifier_and_loads(network: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        whole = TRUNKS[network](weights=None)
    for name, trunk in {"whole": whole, "features": nn.ModuleDict({"features": whole.features})}.items():
        path = saved(trunk, tmp_path / f"{name}.pth")
        check_trunk(path, network)
        loaded = Lpips(network, path).distance.net
        assert not any(parameter.any() for parameter in loaded.parameters()), "the file's zeros, nothing random"


@pytest.mark.parametrize("network", TRUNKS)
def test_what_no_trunk_can_be_loaded_from_is_refused(network: str, tmp_path: Path) -> None:
    (other,) = TRUNKS.keys() - {network}
    with torch.device("meta"):
        wrong = saved(TRUNKS[other](weights=None), tmp_path / "wrong.pth")
        bare = saved(TRUNKS[network](weights=None).features, tmp_path / "bare.pth")
    count = {"vgg": 26, "alex": 10}[network]
    for path, told in (
        (wrong, r"wrong\.pth: holds \d+ tensors, no features\.\d+\.bias; expected the weights of (vgg16|alexnet)"),
        (bare, rf"bare\.pth: holds {count} tensors, no features\.0\.bias; expected the weights of (vgg16|alexnet)"),
    ):
        with pytest.raises(ValueError, match=told):
            check_trunk(path, network)
        with pytest.raises(RuntimeError, match=r"Missing key.*features"):
            load_trunk(nn.Module(), network, path)


def test_torchvisions_cache_is_where_torchvision_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    urls = {
        "vgg": torchvision.models.VGG16_Weights.IMAGENET1K_V1.url,
        "alex": torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url,
    }
    for environment in ({}, {"XDG_CACHE_HOME": "~/xdg"}, {"TORCH_HOME": str(tmp_path)}):
        for name, place in environment.items():
            monkeypatch.setenv(name, place)
        for network, url in urls.items():
            expected = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
            assert cached_trunk(network) == expected


def test_inception_is_the_one_of_the_fid(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "none.pth")
    right = Inception("inception", ["2048"], feature_extractor_weights_path=str(tmp_path / "none.pth"))
    check_inception(saved(right, tmp_path / "right.pth"))
    with torch.device("meta"):
        other = saved(torchvision.models.inception_v3(weights=None, init_weights=False), tmp_path / "torchvision.pth")
        alex = saved(torchvision.models.alexnet(weights=None), tmp_path / "alex.pth")
    with pytest.raises(ValueError, match=r"torchvision\.pth: .*expected .*torch-fidelity's weights-inception"):
        check_inception(other)
    with pytest.raises(ValueError, match=r"alex\.pth: holds 16 tensors, no Conv2d_1a_3x3\.conv\.weight; expected"):
        check_inception(alex)


@pytest.mark.parametrize("architecture", ["ViT-B-32", "RN50", "ViT-B-16-SigLIP", "coca_ViT-B-32", "convnext_base"])
def test_weights_of_an_architecture_are_taken(architecture: str, tmp_path: Path) -> None:
    network = on_meta(architecture)
    check_clip(saved(network, tmp_path / "plain.bin"), architecture)
    wrapped = {f"module.{name}": value for name, value in flat(network).items()}
    torch.save({"epoch": 1, "state_dict": wrapped}, tmp_path / "wrapped.pt")
    check_clip(tmp_path / "wrapped.pt", architecture)


@pytest.mark.parametrize(
    ("architecture", "told"),
    [
        ("ViT-L-14", r"token_embedding\.weight: found \[49408, 512\], expected \[49408, 768\] of open_clip's ViT-L-14"),
        ("ViT-B-16-plus", r"token_embedding\.weight: found \[49408, 512\], expected \[49408, 640\]"),
        ("RN50", r"layers of visual\.transformer: found 12, expected 0"),
        ("ViT-M-32", r"channels of visual\.conv1\.weight: found 768, expected 512"),
    ],
)
def test_weights_of_another_architecture_are_told(architecture: str, told: str, tmp_path: Path) -> None:
    path = saved(on_meta("ViT-B-32"), tmp_path / "clip.bin")
    with pytest.raises(ValueError, match=told):
        check_clip(path, architecture)


def test_weights_without_a_picture_tower(tmp_path: Path) -> None:
    path = saved(nn.Linear(2, 2), tmp_path / "linear.bin")
    with pytest.raises(ValueError, match=r"linear\.bin: a picture tower: found False, expected True of"):
        check_clip(path, "RN50")


def test_a_dinov2_is_known_by_its_configuration(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    with pytest.raises(FileNotFoundError, match=r"no file .*config\.json; expected a folder"):
        check_dinov2(tmp_path)
    for text in ("{", "[]"):
        config.write_text(text)
        with pytest.raises(ValueError, match=r"config\.json is no configuration"):
            check_dinov2(tmp_path)
    config.write_text('{"model_type": "clip"}')
    with pytest.raises(ValueError, match="model_type 'clip'; expected 'dinov2'"):
        check_dinov2(tmp_path)
    config.write_text('{"model_type": "dinov2"}')
    check_dinov2(tmp_path)
