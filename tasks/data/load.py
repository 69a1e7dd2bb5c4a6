"""Opening the models that stages take as inputs, with errors in the user's words."""

from pathlib import Path

from infra.artifact import Source
from infra.errors import UserError
from models.pipelines.opening import open_pipeline
from models.pipelines.text_to_image import TextToImage


def load_model(source: Source, dtype: str = "fp32") -> TextToImage:
    """The text-to-image model of an input: a stage's artifact or a folder in diffusers' format.

    Raises UserError when a component is missing or does not fit.
    """
    return load_folder(source.folder("model"), dtype)


def load_folder(folder: Path, dtype: str = "fp32") -> TextToImage:
    """The model in a diffusers folder. Raises UserError when a component is missing or does not fit."""
    try:
        return open_pipeline(folder, dtype)
    except (OSError, ValueError) as error:
        raise UserError(f"model: {error}") from error
