"""The miniature CLIP: an open_clip model of 0.4 M parameters for 32-pixel pictures."""

import json
from pathlib import Path
from typing import Any

import open_clip
from open_clip.loss import ClipLoss
from safetensors.torch import save_file
from torch import Tensor

from models.mini.tokenizer import CONTEXT_LENGTH, Merges, write_open_clip_merges

NAME = "mini-clip"


def configuration(vocabulary: int) -> dict[str, Any]:
    """The architecture, in open_clip's own model-configuration schema."""
    return {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 32, "patch_size": 4, "layers": 4, "width": 64, "head_width": 16},
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": vocabulary,
            "width": 64,
            "heads": 4,
            "layers": 3,
        },
    }


def build_clip(vocabulary: int) -> Any:
    """A fresh CLIP for a vocabulary of that many tokens."""
    return open_clip.CLIP(**configuration(vocabulary))


def clip_loss(clip: Any, pixels: Tensor, tokens: Tensor) -> Tensor:
    """Symmetric contrastive loss of a batch; pixels [B, 3, 32, 32] normalised, tokens [B, 24]."""
    image, text, scale = clip(pixels, tokens)
    return ClipLoss()(image, text, scale)


def save_clip(clip: Any, merges: Merges, folder: Path) -> None:
    """Write configuration, weights and tokenizer so that ``models.clip.load_clip(folder)`` finds them."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = clip.token_embedding.num_embeddings
    (folder / f"{NAME}.json").write_text(json.dumps(configuration(vocabulary), indent=2) + "\n")
    save_file(
        {name: value.contiguous() for name, value in clip.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    write_open_clip_merges(merges, folder / "merges.txt.gz")
