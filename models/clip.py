"""CLIP through open_clip: any architecture it knows, or a folder with its own (the miniature one)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import open_clip
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from models.mini.tokenizer import open_clip_tokenizer


class Tokenizer(Protocol):
    """Text -> token ids, padded to the context length."""

    def __call__(self, texts: list[str]) -> Tensor: ...


@dataclass(frozen=True)
class Clip:
    """A frozen CLIP: its two towers, its own preprocessing (PIL -> tensor) and tokenizer."""

    model: Any
    preprocess: Any
    tokenizer: Tokenizer

    @torch.no_grad()
    def image_features(self, images: Tensor) -> Tensor:
        """Features of uint8 pictures [B, 3, H, W] (not normalised): float32 [B, D]."""
        pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images.cpu()]
        pixels = torch.stack([self.preprocess(picture) for picture in pictures])
        return self.model.encode_image(pixels.to(self._device())).float().cpu()

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Features of texts (not normalised): float32 [B, D]."""
        return self.model.encode_text(self.tokenizer(list(texts)).to(self._device())).float().cpu()

    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


def load_clip(architecture: str, weights: str | None) -> Clip:
    """Load a CLIP in evaluation mode.

    ``architecture`` is open_clip's name (``ViT-g-14``) with a ``weights`` file, or a folder written by
    :func:`models.mini.clip.save_clip`.

    Raises FileNotFoundError when the folder or the file is missing.
    """
    folder = Path(architecture)
    if folder.is_dir():
        open_clip.add_model_config(folder)
        architecture, weights = _only_json(folder).stem, str(folder / "open_clip_model.safetensors")
    if weights is None or not Path(weights).is_file():
        raise FileNotFoundError(f"clip weights: no file {weights!r} for architecture {architecture!r}")
    model, _, preprocess = open_clip.create_model_and_transforms(architecture, pretrained=weights)
    model.eval().requires_grad_(False)
    merges = folder / "merges.txt.gz"
    tokenizer = open_clip_tokenizer(merges) if merges.exists() else open_clip.get_tokenizer(architecture)
    return Clip(model, preprocess, tokenizer)


def _only_json(folder: Path) -> Path:
    """The model configuration in a CLIP folder; open_clip calls the architecture by the file's stem."""
    configs = sorted(folder.glob("*-clip.json"))
    if len(configs) != 1:
        raise FileNotFoundError(
            f"{folder}: expected one NAME-clip.json (an open_clip model configuration), found {len(configs)}"
        )
    return configs[0]


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Row-wise cosine of two feature matrices [B, D]: the CLIP score of B pictures and captions, [B]."""
    return F.cosine_similarity(a, b, dim=-1)


class ClipLayers(nn.Module):
    """The token maps of a CLIP vision transformer, layer by layer: compared in place of VGG's maps."""

    mean: Tensor
    std: Tensor

    def __init__(self, clip: Clip) -> None:
        super().__init__()
        self.visual = clip.model.visual
        normalise = clip.preprocess.transforms[-1]
        self.register_buffer("mean", torch.tensor(normalise.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(normalise.std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images [B, 3, H, W] in -1..1 -> one map [B, C, h, w] per layer."""
        pixels = ((images + 1) / 2 - self.mean) / self.std
        depth = len(self.visual.transformer.resblocks)
        maps = self.visual.forward_intermediates(pixels, indices=depth, output_fmt="NCHW", intermediates_only=True)
        return list(maps["image_intermediates"])
