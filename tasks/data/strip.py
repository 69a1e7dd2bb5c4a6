"""Pictures side by side, in one row or several, as one small WebP: what a page shows of many."""

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
    """One row of :func:`sheet`."""
    return sheet([pictures], side)


def sheet(rows: Sequence[Sequence[Image.Image]], side: int = SIDE) -> bytes:
    """Pictures of one size as a WebP: small ones enlarged by a whole factor, to the pixel, large ones made small."""
    cells = [[_fitted(picture, side) for picture in row] for row in rows]
    wide, high = (pixels + gap(side) for pixels in cells[0][0].size)
    drawn = Image.new("RGBA", (len(cells[0]) * wide - gap(side), len(cells) * high - gap(side)))
    for line, row in enumerate(cells):
        for column, cell in enumerate(row):
            drawn.paste(cell, (column * wide, line * high))
    buffer = io.BytesIO()
    drawn.save(buffer, "WEBP", lossless=max(rows[0][0].size) <= SIDE, quality=90)
    return buffer.getvalue()


def _fitted(picture: Image.Image, side: int) -> Image.Image:
    longer = max(picture.size)
    if longer > side:
        smaller = (max(1, picture.width * side // longer), max(1, picture.height * side // longer))
        return picture.resize(smaller, Image.Resampling.LANCZOS)
    factor = side // longer
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
