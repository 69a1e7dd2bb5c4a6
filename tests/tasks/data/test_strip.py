"""Strips are of their pictures: whole where they are small, as wide as the page has room for where they are large."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tasks.data.strip import SIDE, gap, sheet, side_by_side


@pytest.mark.parametrize("side", [SIDE, 2 * SIDE])
def test_small_pictures_are_enlarged_to_the_pixel(side: int) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    strip = np.asarray(Image.open(io.BytesIO(side_by_side([*map(Image.fromarray, pictures)], side))).convert("RGB"))
    assert strip.shape[:2] == (side, 3 * side + 2 * gap(side))
    for number, picture in enumerate(pictures):
        shown = strip[:, number * (side + gap(side)) :][:, :side]
        assert (shown == picture.repeat(side // 32, 0).repeat(side // 32, 1)).all()


def test_large_pictures_are_made_small_and_keep_their_shape() -> None:
    strip = Image.open(io.BytesIO(side_by_side([Image.new("RGB", (1024, 512), "red")] * 2)))
    assert strip.format == "WEBP" and strip.size == (2 * SIDE + gap(), SIDE // 2)


def test_rows_lie_over_one_another() -> None:
    rows = [[Image.new("RGB", (SIDE, SIDE), colour) for colour in row] for row in (["red", "lime"], ["blue", "white"])]
    drawn = Image.open(io.BytesIO(sheet(rows))).convert("RGB")
    assert drawn.size == (2 * SIDE + gap(), 2 * SIDE + gap())
    corners = [drawn.getpixel((x, y)) for y in (0, drawn.height - 1) for x in (0, drawn.width - 1)]
    assert corners == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
