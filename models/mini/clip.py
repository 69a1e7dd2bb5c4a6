"""The miniature CLIPs: open_clip models of 0.4 M parameters for 32-pixel pictures, in two architectures.

One lends its layers to the perceptual loss, so another of another architecture has to measure what was trained with it.
"""

import json
from pathlib import Path
from typing import Any, Literal

import open_clip
from open_clip.loss import ClipLoss
from safetensors.torch import save_file
from torch import Tensor

from models.mini.tokenizer import CONTEXT_LENGTH, Merges, write_open_clip_merges

Vision = Literal["vit", "resnet"]

_VISION: dict[Vision, dict[str, Any]] = {
    "vit": {"image_size": 32, "patch_size": 4, "layers": 4, "width": 64, "head_width": 16},
    "resnet": {"image_size": 32, "layers": (1, 1, 1, 1), "width": 8, "head_width": 32},
}
_TEXT = {"vit": {"width": 64, "heads": 4, "layers": 3}, "resnet": {"width": 48, "heads": 4, "layers": 2}}


def configuration(vocabulary: int, vision: Vision = "vit") -> dict[str, Any]:
    """The architecture, in open_clip's own model-configuration schema."""
    text = {"context_length": CONTEXT_LENGTH, "vocab_size": vocabulary, **_TEXT[vision]}
    return {"embed_dim": 64, "vision_cfg": _VISION[vision], "text_cfg": text}


def build_clip(vocabulary: int, vision: Vision = "vit") -> Any:
    """A fresh CLIP for a vocabulary of that many tokens."""
    return open_clip.CLIP(**configuration(vocabulary, vision))


def clip_loss(clip: Any, pixels: Tensor, tokens: Tensor) -> Tensor:
    """Symmetric contrastive loss of a batch; pixels [B, 3, 32, 32] normalised, tokens [B, 24]."""
    image, text, scale = clip(pixels, tokens)
    return ClipLoss()(image, text, scale)


def save_clip(clip: Any, merges: Merges, folder: Path, vision: Vision = "vit") -> None:
    """Write configuration, weights and tokenizer so that ``models.clip.load_clip(folder)`` finds them.

    Weights are kept in half precision, since they come with the project; whoever loads them computes in float32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = clip.token_embedding.num_embeddings
    (folder / f"mini-{vision}-clip.json").write_text(json.dumps(configuration(vocabulary, vision), indent=2) + "\n")
    weights = {name: value.half() if value.is_floating_point() else value for name, value in clip.state_dict().items()}
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "open_clip_model.safetensors")
    write_open_clip_merges(merges, folder / "merges.txt.gz")
