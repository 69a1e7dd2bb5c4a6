"""Pictures side by side as one small WebP: what a page shows of many."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

SIDE = 96
"""The longer side of a picture in a strip, pixels."""


def gap(side: int = SIDE) -> int:
    """Pixels between two pictures."""
    return side // 24


def side_by_side(pictures: Sequence[Image.Image], side: int = SIDE) -> bytes:
    """Pictures of one size as a WebP: small ones enlarged by a whole factor, to the pixel, large ones made small."""
    cells = [_fitted(picture, side) for picture in pictures]
    wide, high = cells[0].size
    strip = Image.new("RGBA", (len(cells) * (wide + gap(side)) - gap(side), high))
    for number, cell in enumerate(cells):
        strip.paste(cell, (number * (wide + gap(side)), 0))
    buffer = io.BytesIO()
    strip.save(buffer, "WEBP", lossless=max(pictures[0].size) <= SIDE, quality=90)
    return buffer.getvalue()


def _fitted(picture: Image.Image, side: int) -> Image.Image:
    longer = max(picture.size)
    if longer > side:
        smaller = (max(1, picture.width * side // longer), max(1, picture.height * side // longer))
        return picture.resize(smaller, Image.Resampling.LANCZOS)
    factor = side // longer
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
