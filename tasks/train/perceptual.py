"""The perceptual distance that a recipe names, and the one between latents that it gives."""

from pathlib import Path

import torch

from infra.artifact import Source
from infra.errors import UserError
from models.clip import ClipLayers, load_clip
from models.losses import LatentDistance, picture_distance
from models.perceptual import FeatureDistance, Lpips
from models.pipelines.text_to_image import TextToImage
from tasks.sections import Perceptual


def pictures_of(
    model: TextToImage, perceptual: Perceptual, clip: Source | None, section: str, latent_weight: float = 0.0
) -> LatentDistance:
    """The distance of the pictures that the model's decoder makes of latents, as a section of the recipe has it.

    Raises UserError for weights that are missing or of another network, and for a CLIP that was not given.
    """
    return picture_distance(model.pixels, _network(perceptual, clip, section).to(model.device), latent_weight)


def _network(perceptual: Perceptual, clip: Source | None, section: str) -> torch.nn.Module:
    if perceptual.kind == "mini":
        if clip is None:
            raise UserError(
                f"{section}: no input clip, the small CLIP that perceptual.kind mini asks for; give its folder"
            )
        return FeatureDistance(ClipLayers(load_clip(str(clip.folder("clip")), None)))
    field = f"{section}.perceptual.trunk_weights"
    if perceptual.trunk_weights is None:
        raise UserError(f"{field}: null; expected a file with torchvision's weights of the trunk")
    try:
        return Lpips(perceptual.network, Path(perceptual.trunk_weights))
    except (FileNotFoundError, RuntimeError) as error:
        raise UserError(f"{field}: {error}") from error
