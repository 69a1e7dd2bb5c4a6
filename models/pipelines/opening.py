"""Which family a folder is of: what its model_index.json says."""

import json
from pathlib import Path

import models.stacked_unet  # noqa: F401 - a folder may name it: diffusers imports nothing on a folder's word
from models.pipelines.stable_diffusion import StableDiffusion
from models.pipelines.text_to_image import TextToImage

FAMILIES: dict[str, type[TextToImage]] = {family.pipeline_class: family for family in (StableDiffusion,)}


def open_pipeline(folder: Path, dtype: str = "fp32") -> TextToImage:
    """The model in a diffusers folder, on the GPU if there is one; ``dtype`` is fp32, bf16 or fp16.

    Raises FileNotFoundError for a missing component, ValueError for a class of pipeline that is not known here.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        raise FileNotFoundError(
            f"{folder}: no model_index.json; expected a folder that diffusers' save_pretrained wrote"
        )
    name = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    if name not in FAMILIES:
        raise ValueError(f"{index}: _class_name is {name!r}; expected one of {', '.join(FAMILIES)}")
    return FAMILIES[name].load(folder, dtype)
