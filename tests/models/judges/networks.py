"""Judges' networks of the real classes with random weights: nothing can be downloaded in a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from transformers import Dinov2Config, Dinov2Model


class RandomInception(FeatureExtractorInceptionV3):  # type: ignore[misc]  # torch-fidelity is untyped
    """torch-fidelity's network before any weights were read."""

    def load_state_dict(self, *_: object, **__: object) -> None: ...


def inception(weights: Path) -> FeatureExtractorInceptionV3:
    """A network whose features tell pictures apart, its weights written: the usual draw would shrink them to nothing.

    Each convolution keeps the variance of what it is given (He et al. 2015).
    """
    torch.manual_seed(0)
    torch.save({}, weights)
    network = RandomInception("random", ["2048"], feature_extractor_weights_path=str(weights))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    torch.save(network.state_dict(), weights)
    return network


def dinov2(folder: Path) -> Dinov2Model:
    """A tiny DINOv2 of the real class, its folder written."""
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14, mlp_ratio=2
    )
    model = Dinov2Model(config).eval()
    model.save_pretrained(folder)
    return model


def clip(weights: Path, architecture: str = "ViT-S-32-alt") -> open_clip.CLIP:
    """An open_clip model, its weights written."""
    torch.manual_seed(0)
    model = open_clip.create_model(architecture).eval()
    torch.save(model.state_dict(), weights)
    return model


def pictures(count: int, side: int, seed: int = 0) -> Tensor:
    """Coloured blobs, uint8 [count, 3, side, side]: no two alike, and smooth as photographs are."""
    small = np.random.default_rng(seed).integers(0, 256, (count, 6, 6, 3), np.uint8)
    grown = [np.array(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in small]
    return torch.from_numpy(np.stack(grown)).permute(0, 3, 1, 2).contiguous()
