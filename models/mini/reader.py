"""The attribute reader: a small classifier of the shape, colour, size, ... that a 32-pixel picture shows."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from models.judges.pixels import accelerator, pictures_at
from models.mini.captions import mentioned
from models.mini.scene import ATTRIBUTES
from models.resizing import Resize

TAKES = Resize(32, "bicubic")
"""The size of the pictures that it was trained on."""


class AttributeReader(nn.Module):
    """Picture [B, 3, 32, 32] in -1..1 -> one vector of logits per attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 24, 3, padding=1),
            nn.GroupNorm(4, 24),
            nn.SiLU(),
            nn.Conv2d(24, 32, 3, stride=2, padding=1),
            nn.GroupNorm(4, 32),
            nn.SiLU(),
            nn.Conv2d(32, 48, 3, stride=2, padding=1),
            nn.GroupNorm(4, 48),
            nn.SiLU(),
            nn.Conv2d(48, 48, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
        )
        self.heads = nn.ModuleDict({name: nn.Linear(48 * 16, len(values)) for name, values in ATTRIBUTES.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits by attribute name: [B, number of values]."""
        features = self.trunk(images)
        return {name: head(features) for name, head in self.heads.items()}


def reader_loss(reader: AttributeReader, images: Tensor, labels: dict[str, Tensor]) -> Tensor:
    """Sum of the attributes' cross-entropies; labels are indices into ``ATTRIBUTES[name]``, [B] each."""
    logits = reader(images)
    return torch.stack([F.cross_entropy(logits[name], labels[name]) for name in ATTRIBUTES]).sum()


@torch.no_grad()
def read_attributes(reader: AttributeReader, images: Tensor) -> list[dict[str, str]]:
    """What uint8 pictures [B, 3, H, W] show, e.g. ``[{"shape": "ring", "colour": "red", ...}, ...]``.

    Others than those of its own size are resized.
    """
    device = next(reader.parameters()).device
    logits = reader(pictures_at(images, TAKES).to(device).float() / 127.5 - 1)
    columns = {name: [values[i] for i in logits[name].argmax(1).tolist()] for name, values in ATTRIBUTES.items()}
    return [{name: column[row] for name, column in columns.items()} for row in range(len(images))]


def attribute_hits(shown: Sequence[dict[str, str]], captions: Sequence[str]) -> Tensor:
    """Per picture: how many of its caption's attributes it shows, and how many the caption mentions; int [N, 2]."""
    told = [mentioned(text) for text in captions]
    pairs = zip(shown, told, strict=True)
    return torch.tensor([(sum(seen[name] == said[name] for name in said), len(said)) for seen, said in pairs])


def save_reader(reader: AttributeReader, folder: Path) -> None:
    """Write the weights beside the CLIP they belong to."""
    save_file(reader.state_dict(), folder / "reader.safetensors")


def load_reader(folder: Path) -> AttributeReader:
    """Read what :func:`save_reader` wrote, in evaluation mode, on the GPU if there is one."""
    reader = AttributeReader()
    reader.load_state_dict(load_file(folder / "reader.safetensors"))
    return reader.eval().requires_grad_(False).to(accelerator())
