"""Whether a file of weights is of the network it is meant for: told by names and shapes, before a network is built."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models.clip_names import architectures
from models.weights_header import Shapes, read_shapes

_TRUNKS = {"vgg": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), "alex": (0, 3, 6, 8, 10)}
_TOWERS = ("visual.", "image_encoder.", "vision_model.")  # open_clip's own name, and those it converts
_INCEPTION = {"Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch_pool.conv.weight", "fc.weight"}
_FID = "weights-inception-2015-12-05-6726825d.pth"
_TORCHVISION = {"vgg": "vgg16-397923af.pth", "alex": "alexnet-owt-7be5be79.pth"}


def cached_trunk(network: str) -> Path:
    """Where torchvision caches the weights of an LPIPS trunk ("vgg", "alex"), whether they are there or not."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    home = Path(os.environ.get("TORCH_HOME") or cache).expanduser()
    return home / "hub" / "checkpoints" / _TORCHVISION[network]


def check_trunk(path: Path, network: str) -> None:
    """Raise ValueError unless the file holds the layers of torchvision's vgg16 ("vgg") or alexnet ("alex").

    The classifier behind them may be there: nothing reads it.
    """
    names = {f"features.{n}.{part}" for n in _TRUNKS[network] for part in ("weight", "bias")}
    _require(path, names, _TORCHVISION[network])


def check_inception(path: Path) -> None:
    """Raise ValueError unless the file holds the InceptionV3 of the FID, which has 1008 classes."""
    shapes = _require(path, _INCEPTION, f"torch-fidelity's {_FID}")
    if shapes is not None and shapes["fc.weight"] != (1008, 2048):
        found = [*shapes["fc.weight"]]
        raise ValueError(f"{path}: fc.weight is {found}, expected [1008, 2048] as in torch-fidelity's {_FID}")


def check_dinov2(folder: Path) -> None:
    """Raise FileNotFoundError without a config.json, ValueError for one of another network than a Dinov2Model."""
    config = folder / "config.json"
    if not config.is_file():
        raise FileNotFoundError(f"dinov2 weights: no file {config}; expected a folder of transformers' Dinov2Model")
    try:
        kind = json.loads(config.read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"dinov2 weights: {config} is no configuration: {error}") from error
    if kind != "dinov2":
        raise ValueError(f"dinov2 weights: {config}: model_type {kind!r}; expected 'dinov2'")


def check_clip(path: Path, architecture: str) -> None:
    """Raise ValueError unless the file holds weights of that architecture, as far as its sizes tell."""
    shapes = read_shapes(path) if path.suffix not in (".npz", ".npy") else None  # big_vision's: open_clip converts them
    if shapes is None:
        return
    shapes = {name.removeprefix("module."): shape for name, shape in shapes.items()}
    config = json.loads(architectures()[architecture].read_text(encoding="utf-8"))
    for what, found, expected in _sizes(shapes, config["vision_cfg"], config["text_cfg"]):
        if found != expected:
            raise ValueError(f"{path}: {what}: found {found}, expected {expected} of open_clip's {architecture}")


def _sizes(shapes: Shapes, vision: Mapping[str, Any], text: Mapping[str, Any]) -> Iterator[tuple[str, object, object]]:
    """What is measured, its size in the file and in the configuration, as far as both tell it."""
    yield "a picture tower", any(name.startswith(_TOWERS) for name in shapes), True
    words = shapes.get("token_embedding.weight") or shapes.get("text.token_embedding.weight")
    if words and "vocab_size" in text:
        yield "token_embedding.weight", [*words], [text["vocab_size"], text["width"]]
    patches, layers = shapes.get("visual.conv1.weight"), vision.get("layers")
    blocks = {name.split(".")[3] for name in shapes if name.startswith("visual.transformer.resblocks.")}
    if patches and isinstance(layers, int):
        yield "channels of visual.conv1.weight", patches[0], vision["width"]
    if patches or blocks:
        yield "layers of visual.transformer", len(blocks), layers if isinstance(layers, int) else 0


def _require(path: Path, names: set[str], what: str) -> Shapes | None:
    """The shapes of a file that has to have these names. Raises ValueError that says which it has not."""
    shapes = read_shapes(path)
    if shapes is not None and (missing := names - shapes.keys()):
        raise ValueError(f"{path}: holds {len(shapes)} tensors, no {min(missing)}; expected the weights of {what}")
    return shapes
