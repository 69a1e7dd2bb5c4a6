"""The miniature world in the MS COCO layout: annotations in the official captions schema, PNG pictures beside them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from models.mini.captions import caption
from models.mini.render import CANVAS, render
from models.mini.scene import draw_scene, generator

FIRST_ID = {"train2017": 1_000_000, "val2017": 1}


def write_split(
    folder: Path,
    split: str,
    count: int,
    captions_per_image: int,
    seed: int,
    advance: Callable[[int], object],
) -> None:
    """Write ``count`` pictures of a split: ``<split>/*.png``, ``annotations/captions_<split>.json`` and the scenes.

    ``val2017`` shows held-out combinations only, ``train2017`` none of them. ``annotations/scenes_<split>.json`` (image
    id -> attributes) is ours: it trains the reader. ``advance`` is told of each picture.
    """
    (folder / split).mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    scenes: dict[int, dict[str, str]] = {}
    for image_id in range(FIRST_ID[split], FIRST_ID[split] + count):
        rng = generator(seed, image_id)
        scene = draw_scene(rng, held_out=split == "val2017")
        name = f"{image_id:012d}.png"
        Image.fromarray(render(scene)).save(folder / split / name)
        images.append(_image_record(image_id, name))
        scenes[image_id] = scene.attributes
        for _ in range(captions_per_image):
            annotations.append({"image_id": image_id, "id": len(annotations) + 1, "caption": caption(scene, rng)})
        advance(1)
    info = {
        "description": "InstaFlow miniature world",
        "version": "1",
        "year": 2026,
        "contributor": "",
        "url": "",
        "date_created": "",
    }
    captions = {"info": info, "licenses": [], "images": images, "annotations": annotations}
    (folder / "annotations" / f"captions_{split}.json").write_text(json.dumps(captions))
    (folder / "annotations" / f"scenes_{split}.json").write_text(json.dumps(scenes))


def _image_record(image_id: int, name: str) -> dict[str, Any]:
    return {
        "license": 0,
        "file_name": name,
        "coco_url": "",
        "height": CANVAS,
        "width": CANVAS,
        "date_captured": "",
        "flickr_url": "",
        "id": image_id,
    }
