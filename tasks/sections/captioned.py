"""Captioned pictures: those of the miniature world, and a folder in the MS COCO layout."""

from __future__ import annotations

from pydantic import Field

from infra.recipe import ASIDE, Count, Section, Seed
from tasks.sections.recipe import UNSHIFTED


class World(Section):
    """The miniature world: captioned scenes of 32x32 pixels."""

    train_images: int = Field(default=0, ge=0, description="pictures of the training split; 0 makes none")
    val_images: Count = Field(default=2000, description="pictures of the validation split")
    captions_per_image: Count = Field(default=5, description="captions beside each picture")
    seed: Seed = Field(default=1, description="seed of scenes and captions", json_schema_extra=UNSHIFTED)


class Coco(Section):
    """Captioned pictures in the MS COCO layout: the evaluation's captions and references."""

    path: str | None = Field(
        default=None,
        description="folder of the data set, or the full address of an artifact; null takes the world stage's",
        json_schema_extra=ASIDE,
    )
    annotations: str = Field(
        default="annotations/captions_val2017.json", description="caption file, relative to the folder"
    )
    images: str = Field(default="val2017", description="folder of pictures, relative to the folder")

    def within(self) -> Coco:
        """The files within the data set, wherever that lies."""
        return self.model_copy(update={"path": None})
