"""Perceptual distances: LPIPS itself, and the LPIPS formula over another network's feature maps."""

from collections.abc import Callable
from pathlib import Path

import lpips
import torch
import torchvision
from torch import Tensor, nn

from models.judges.pixels import fitted

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""distance(pictures [B, 3, H, W] in -1..1, pictures) -> [B]."""


class FeatureDistance(nn.Module):
    """The LPIPS formula (Zhang et al. 2018, equation 1) with unit weights over the maps of ``layers``."""

    def __init__(self, layers: Callable[[Tensor], list[Tensor]]) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Sum over layers of the spatial mean of || a_hat - b_hat ||^2, channels normalised: [B]."""
        total = torch.zeros(len(a), device=a.device)
        for x, y in zip(self.layers(a), self.layers(b), strict=True):
            gap = (lpips.normalize_tensor(x) - lpips.normalize_tensor(y)).square().sum(1, keepdim=True)
            total = total + lpips.spatial_average(gap).flatten()
        return total


SMALLEST = {"vgg": 16, "alex": 31}
"""Pixels per side below which a trunk's last map vanishes."""


class Lpips(nn.Module):
    """The ``lpips`` package's distance, its trunk loaded from torchvision's weights file (nothing is downloaded).

    It takes pictures of any size; below `SMALLEST` they are enlarged to it, differentiably.
    """

    def __init__(self, network: str, trunk_weights: Path) -> None:
        super().__init__()
        self.distance = lpips.LPIPS(net=network, pnet_rand=True, verbose=False).eval().requires_grad_(False)
        load_trunk(self.distance.net, network, trunk_weights)
        self.smallest = SMALLEST[network]

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """LPIPS of pictures in -1..1: [B]."""
        side = max(self.smallest, a.shape[-1])
        return self.distance(fitted(a, side), fitted(b, side)).flatten()


def load_trunk(net: nn.Module, network: str, path: Path) -> None:
    """Copy torchvision's ``vgg16`` or ``alexnet`` weights from ``path`` into the slices of an lpips trunk.

    Raises FileNotFoundError without the file, RuntimeError when it holds another network.
    """
    if not path.is_file():
        raise FileNotFoundError(f"lpips trunk weights: no file {path}; expected torchvision's {network} state dict")
    build = {"vgg": torchvision.models.vgg16, "alex": torchvision.models.alexnet}[network]
    trunk = build(weights=None)
    trunk.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    # lpips cuts the same layers into slices but keeps their numbers: "slice2.5.weight" is "features.5.weight".
    source = trunk.features.state_dict()
    net.load_state_dict({name: source[name.split(".", 1)[1]] for name in net.state_dict()})
