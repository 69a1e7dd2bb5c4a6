"""The distance of pictures that a training may take, and the trainings that may take one."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from infra.recipe import ASIDE, Section
from tasks.sections.training import Training


class Perceptual(Section):
    """The perceptual distance."""

    kind: Literal["mini", "lpips"] = Field(
        default="mini",
        description="mini: the small CLIP's layers in the LPIPS formula; lpips: the lpips package",
    )
    network: Literal["vgg", "alex"] = Field(default="vgg", description="trunk of the lpips package")
    trunk_weights: str | None = Field(
        default=None,
        description="file of that trunk's weights; null takes torchvision's cache",
        json_schema_extra=ASIDE,
    )

    def located(self) -> Self:
        """With the trunk's weights from torchvision's cache, where none are named and they are there."""
        from models.known_weights import cached_trunk

        if self.kind == "mini" or self.trunk_weights is not None:
            return self
        cached = cached_trunk(self.network)
        return self.model_copy(update={"trunk_weights": str(cached)}) if cached.is_file() else self


class Perceiving(Training):
    """A training that may compare pictures."""

    perceptual: Perceptual = Field(default=Perceptual(), description="the distance of pictures")

    @property
    def compares_pictures(self) -> bool:
        """Whether it does."""
        raise NotImplementedError

    @property
    def needs_mini_clip(self) -> bool:
        """Whether pictures are compared by the layers of the small CLIP."""
        return self.perceptual.kind == "mini" and self.compares_pictures

    def located(self) -> Self:
        """With the trunk of the perceptual distance, if it is needed."""
        return self.model_copy(update={"perceptual": self.perceptual.located()}) if self.compares_pictures else self
