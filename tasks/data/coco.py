"""MS COCO captions: the official schema, one caption per image."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from infra.errors import UserError


@dataclass(frozen=True)
class Caption:
    """A picture's file name and one of its captions."""

    image_id: int
    file_name: str
    text: str


def read_captions(path: Path) -> list[Caption]:
    """One caption per image (the lowest annotation id), in the order of the image ids.

    Raises UserError for a missing file, broken JSON, and missing fields.
    """
    content = _load(path)
    try:
        names = {image["id"]: image["file_name"] for image in content["images"]}
        first: dict[int, tuple[int, str]] = {}
        for annotation in content["annotations"]:
            known = first.get(annotation["image_id"])
            if known is None or annotation["id"] < known[0]:
                first[annotation["image_id"]] = (annotation["id"], annotation["caption"])
        captions = [Caption(image_id, names[image_id], first[image_id][1].strip()) for image_id in sorted(first)]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not the COCO captions schema ({type(error).__name__}: {error}); expected "
            "images: [{id, file_name}] and annotations: [{id, image_id, caption}]"
        ) from error
    if not captions:
        raise UserError(f"{path}: holds no captions; expected at least one entry in annotations")
    return captions


def read_all_captions(path: Path) -> list[Caption]:
    """Every caption with words, in the order of the annotation ids. Raises UserError as :func:`read_captions` does."""
    content = _load(path)
    try:
        names = {image["id"]: image["file_name"] for image in content["images"]}
        every = sorted((one["id"], one["image_id"], one["caption"].strip()) for one in content["annotations"])
        return [Caption(image_id, names[image_id], text) for _, image_id, text in every if text]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not the COCO captions schema ({type(error).__name__}: {error})") from error


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file; expected COCO captions (recipe: coco.path, coco.annotations)"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: broken JSON: {error}; expected the COCO captions schema") from error


def read_image(path: Path, size: int | None = None) -> Tensor:
    """A picture as uint8 [3, H, W]; with ``size``: centre crop on the long edge, PIL Lanczos (COCO 2014-30k protocol).

    Raises UserError for a missing file and for one that is no picture.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: no such picture; expected the images of the captions file there (recipe: coco.images)"
        )
    try:
        picture = Image.open(path).convert("RGB")
    except OSError as error:  # unknown format, or cut short
        raise UserError(
            f"{path}: broken picture: {error}; expected a whole image file (recipe: coco.images)"
        ) from error
    if size is not None and picture.size != (size, size):
        edge = min(picture.size)
        left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
        # Cut first: resize(box=...) would let the filter see what lies beyond the cut.
        picture = picture.crop((left, top, left + edge, top + edge))
        picture = picture.resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)
