"""Which family a folder is of: what its model_index.json says."""

from pathlib import Path

import models.stacked_unet  # noqa: F401 - a folder may name it: diffusers imports nothing on a folder's word
from models.pipelines.folder import pipeline_class
from models.pipelines.stable_diffusion import StableDiffusion
from models.pipelines.stable_diffusion_3 import StableDiffusion3
from models.pipelines.stable_diffusion_xl import StableDiffusionXL
from models.pipelines.text_to_image import TextToImage

FAMILIES: dict[str, type[TextToImage]] = {
    family.pipeline_type.__name__: family
    for family in (
        StableDiffusion,
        StableDiffusionXL,
        StableDiffusion3,
    )
}


def open_pipeline(folder: Path, dtype: str = "fp32") -> TextToImage:
    """The model in a diffusers folder, on the GPU if there is one; ``dtype`` is fp32, bf16 or fp16.

    Raises FileNotFoundError for what is missing, ValueError for what is not known or does not fit.
    """
    return FAMILIES[pipeline_class(folder)].load(folder, dtype)
