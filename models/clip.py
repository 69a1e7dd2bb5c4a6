"""CLIP through open_clip: any architecture it knows, or a folder with its own (the miniature one)."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import open_clip
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from models.clip_names import check_architecture, check_tag
from models.judges.pixels import accelerator, as_pictures, fitted, full_precision, normalised, through
from models.mini.tokenizer import open_clip_tokenizer

PREPARED = ("mean", "std", "interpolation", "resize_mode")
"""How pictures are prepared for published weights; open_clip knows it by their tag."""


class Tokenizer(Protocol):
    """Text -> token ids, padded to the context length."""

    def __call__(self, texts: list[str]) -> Tensor: ...


@dataclass(frozen=True)
class Clip:
    """A frozen CLIP: its two towers, its own preprocessing (PIL -> tensor) and tokenizer.

    It takes RGB pictures of 0 to 255 and any size: others than its own are resized as its preprocessing does.
    """

    model: Any
    preprocess: Any
    tokenizer: Tokenizer

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures that the network sees."""
        size = self.model.visual.image_size
        return (size, size) if isinstance(size, int) else tuple(size)

    @torch.no_grad()
    def image_features(self, images: Tensor) -> Tensor:
        """Features of uint8 pictures [B, 3, H, W] (not normalised): float32 [B, D] on the CPU.

        Where only the size differs, Pillow resizes on a few threads; range and mean are a batch's on the device.
        """
        fit = as_pictures(images).shape[2:] == self.size
        pixels = normalised(images if fit else through(images, self._resized), *self._normalisation, self._device)
        with full_precision():
            return self.model.encode_image(pixels).float().cpu()

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Features of texts (not normalised): float32 [B, D] on the CPU."""
        return self.model.encode_text(self.tokenizer(list(texts)).to(self._device)).float().cpu()

    def _resized(self, picture: Image.Image) -> Image.Image:
        """The steps of the preprocessing before it makes a tensor and normalises it."""
        for step in self.preprocess.transforms[:-2]:
            picture = step(picture)
        return picture

    @property
    def _normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        last = self.preprocess.transforms[-1]
        return tuple(last.mean), tuple(last.std)

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


def load_clip(
    architecture: str, weights: str | None, tag: str | None = None, device: torch.device | None = None
) -> Clip:
    """Load a CLIP in evaluation mode, on the GPU if there is one.

    ``architecture`` is open_clip's name (``ViT-g-14``) with a ``weights`` file, or a folder written by
    :func:`models.mini.clip.save_clip`. ``tag`` says which published weights the file holds: how pictures are prepared
    and which activation they were trained with; it may be left out where all tags of the architecture agree.

    Raises FileNotFoundError when the folder or the file is missing, ValueError for an architecture or a tag that
    open_clip does not know and for the weights of another network.
    """
    folder = Path(architecture)
    if folder.is_dir():
        open_clip.add_model_config(folder)
        architecture, weights = _only_json(folder).stem, str(folder / "open_clip_model.safetensors")
    else:
        check_architecture(architecture)
    if weights is None or not Path(weights).is_file():
        raise FileNotFoundError(f"clip weights: no file {weights!r} for architecture {architecture!r}")
    model, preprocess = _create(architecture, weights, published(architecture, tag), device or accelerator())
    merges = folder / "merges.txt.gz"
    tokenizer = open_clip_tokenizer(merges) if merges.exists() else open_clip.get_tokenizer(architecture)
    return Clip(model, preprocess, tokenizer)


def published(architecture: str, tag: str | None) -> dict[str, Any]:
    """What open_clip says of published weights: `PREPARED`, and whether they were trained with its quick GELU.

    Without a tag it is what all of the architecture's tags say; nothing for one without published weights. Raises
    ValueError for an unknown tag, and without one where they differ.
    """
    check_tag(architecture, tag)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    told = {name: _told(architecture, name) for name in (tags if tag is None else [tag])}
    if not told:
        return {}
    first, *others = told.values()
    if any(other != first for other in others):
        raise ValueError(
            f"clip tag null: the published weights of {architecture} were trained on differently prepared pictures or "
            f"with another activation; say which these are, one of {', '.join(tags)}"
        )
    return first


def _told(architecture: str, tag: str) -> dict[str, Any]:
    config = open_clip.get_pretrained_cfg(architecture, tag)
    return {**{name: config[name] for name in PREPARED}, "quick_gelu": bool(config.get("quick_gelu"))}


def _create(architecture: str, weights: str, told: dict[str, Any], device: torch.device) -> tuple[Any, Any]:
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(
            architecture,
            pretrained=weights,
            force_quick_gelu=told.get("quick_gelu", False),
            device=device,
            **{f"image_{name}": told[name] for name in PREPARED if name in told},
        )
    except (RuntimeError, pickle.UnpicklingError, SafetensorError, KeyError, AttributeError, OSError) as error:
        text = str(error).strip().partition("\n")[0]
        raise ValueError(f"clip weights: {weights} are not those of {architecture}: {text}") from error
    return model.eval().requires_grad_(False), preprocess


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
    """The token maps of a CLIP vision transformer, layer by layer: compared in place of VGG's maps.

    It takes pictures of any size, and resizes them differentiably. Raises ValueError for a tower without layers.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, clip: Clip) -> None:
        super().__init__()
        self.visual = clip.model.visual
        if not hasattr(self.visual, "forward_intermediates") or clip.size[0] != clip.size[1]:
            raise ValueError(f"{type(self.visual).__name__} of {clip.size} pixels has no layers to compare pictures by")
        self.side = clip.size[0]
        normalise = clip.preprocess.transforms[-1]
        self.register_buffer("mean", torch.tensor(normalise.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(normalise.std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images [B, 3, H, W] in -1..1 of any size -> one map [B, C, h, w] per layer."""
        pixels = (fitted((images + 1) / 2, self.side) - self.mean) / self.std
        depth = len(self.visual.transformer.resblocks)
        maps = self.visual.forward_intermediates(pixels, indices=depth, output_fmt="NCHW", intermediates_only=True)
        return list(maps["image_intermediates"])
