"""Cutting and resizing pictures with Pillow: what generated and real pictures go through before they are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PIL import Image

Filter = Literal["lanczos", "bicubic", "bilinear"]


@dataclass(frozen=True)
class Resize:
    """To `size` pixels a side, by a filter; without `antialias` pixels between the samples are not seen at all."""

    size: int
    filter: Filter = "lanczos"
    antialias: bool = True

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size: {self.size}; expected at least one pixel a side")
        if self.filter == "lanczos" and not self.antialias:
            raise ValueError("filter lanczos without antialias: there is no such filter; take bicubic or bilinear")

    def __str__(self) -> str:
        """As the protocol has it."""
        return f"PIL {self.filter}, {'antialiased' if self.antialias else 'not antialiased'}, {self.size} px"


def centre_square(picture: Image.Image) -> Image.Image:
    """The middle of the long edge: a square with the short edge's side."""
    edge = min(picture.size)
    left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
    return picture if picture.width == picture.height else picture.crop((left, top, left + edge, top + edge))


def resized(picture: Image.Image, to: Resize) -> Image.Image:
    """The picture's centre square at `to.size`; one of that size is left alone.

    It is cut first: `resize(box=...)` would let the filter see what lies beyond the cut.
    """
    square, size = centre_square(picture), (to.size, to.size)
    if square.size == size:
        return square
    if to.antialias:
        return square.resize(size, Image.Resampling[to.filter.upper()])
    step = square.width / to.size  # an affine map reads the source at single points
    return square.transform(size, Image.Transform.AFFINE, (step, 0, 0, 0, step, 0), Image.Resampling[to.filter.upper()])
