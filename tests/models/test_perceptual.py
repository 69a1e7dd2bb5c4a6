"""The perceptual distances equal the lpips package where the same features are given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lpips
import pytest
import torch
import torchvision
from torch import Tensor, nn

from models.perceptual import SMALLEST, FeatureDistance, Lpips

# lpips itself asks torchvision in an old way
pytestmark = pytest.mark.filterwarnings("ignore:.*(pretrained|weight enum):UserWarning")


@pytest.fixture
def pictures() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.rand(3, 3, 64, 64, generator=rng) * 2 - 1 for _ in range(2))
    return a, b


@pytest.fixture(params=["alex", "vgg"], scope="module")
def network(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def trunk(network: str) -> nn.Module:
    torch.manual_seed(1)
    build = {"vgg": torchvision.models.vgg16, "alex": torchvision.models.alexnet}[network]
    model: nn.Module = build(weights=None)
    return model


@pytest.fixture(scope="module")
def weights(trunk: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("trunk") / "trunk.pth"
    torch.save(trunk.state_dict(), path)
    yield path
    path.unlink()  # half a gigabyte


def test_the_formula_is_the_unweighted_lpips(network: str, pictures: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    peer = lpips.LPIPS(net=network, lpips=False, pnet_rand=True, verbose=False)
    distance = FeatureDistance(lambda images: list(peer.net(peer.scaling_layer(images))))
    expected = peer(*pictures).flatten()
    assert expected.min() > 0
    assert torch.allclose(distance(*pictures), expected, rtol=1e-5)


def test_lpips_with_a_trunk_from_a_file_is_lpips_with_that_trunk(
    network: str,
    trunk: nn.Module,
    weights: Path,
    pictures: tuple[Tensor, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # lpips takes its trunk from torchvision: hand it ours where it would download one
    name = {"vgg": "vgg16", "alex": "alexnet"}[network]
    monkeypatch.setattr(torchvision.models, name, lambda **_: trunk)
    peer = lpips.LPIPS(net=network, verbose=False)
    expected = peer(*pictures).flatten()
    found = Lpips(network, weights)(*pictures)
    assert found.shape == (3,) and expected.min() > 0
    assert torch.equal(found, expected)
    assert torch.equal(Lpips(network, weights)(pictures[0], pictures[0]), torch.zeros(3))


def test_the_gradient_reaches_the_picture_and_no_weight(
    weights: Path, network: str, pictures: tuple[Tensor, Tensor]
) -> None:
    distance = Lpips(network, weights)
    picture = pictures[0].clone().requires_grad_()
    distance(picture, pictures[1]).sum().backward()
    assert picture.grad is not None and (picture.grad.flatten(1).abs().sum(1) > 0).all()
    assert all(parameter.grad is None for parameter in distance.parameters())


def test_the_gradient_reaches_the_picture_through_any_layers(pictures: tuple[Tensor, Tensor]) -> None:
    convolution = nn.Conv2d(3, 4, 3)
    distance = FeatureDistance(lambda images: [images, convolution(images)])
    picture = pictures[0].clone().requires_grad_()
    distance(picture, pictures[1]).sum().backward()
    assert picture.grad is not None and picture.grad.abs().sum() > 0


@pytest.mark.parametrize("side", [8, 20, 31, 35, 48])
def test_pictures_of_any_size_are_compared_with_a_gradient(side: int, weights: Path, network: str) -> None:
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.rand(2, 3, side, side, generator=rng) * 2 - 1 for _ in range(2))
    distance = Lpips(network, weights)(a.requires_grad_(), b)
    distance.sum().backward()
    assert distance.shape == (2,) and (distance > 0).all()
    assert a.grad is not None and a.grad.abs().sum() > 0


def test_pictures_are_enlarged_only_where_the_trunk_ends(
    weights: Path, network: str, pictures: tuple[Tensor, Tensor]
) -> None:
    a, b = (one[..., : SMALLEST[network], : SMALLEST[network]] for one in pictures)
    distance = Lpips(network, weights)
    assert torch.equal(distance(a, b), distance.distance(a, b).flatten())
    with pytest.raises(RuntimeError, match="too small|smaller|size"):
        distance.distance(a[..., 1:, 1:], b[..., 1:, 1:])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file .*vgg16.pth"):
        Lpips("vgg", tmp_path / "vgg16.pth")


def test_the_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(RuntimeError, match="features"):
        Lpips("alex", tmp_path / "other.pth")
