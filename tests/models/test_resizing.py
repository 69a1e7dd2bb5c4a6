"""Cut and resized as the protocols say: Pillow's filters, and torch's where nothing smooths before."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from models.resizing import Filter, Resize, centre_square, resized


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize(("width", "height"), [(60, 40), (40, 60), (41, 40), (40, 40)])
@pytest.mark.parametrize("name", get_args(Filter))
def test_the_middle_is_cut_out_before_it_is_resized(width: int, height: int, name: Filter) -> None:
    whole = picture(width, height)
    left, top = (width - 40) // 2, (height - 40) // 2
    square = Image.fromarray(np.asarray(whole)[top : top + 40, left : left + 40])
    expected = square.resize((20, 20), Image.Resampling[name.upper()])
    np.testing.assert_array_equal(np.asarray(resized(whole, Resize(20, name))), np.asarray(expected))
    np.testing.assert_array_equal(np.asarray(centre_square(whole)), np.asarray(square))


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    for to in (Resize(20), Resize(20, "bilinear", antialias=False)):
        np.testing.assert_array_equal(np.asarray(resized(picture(20, 20), to)), np.asarray(picture(20, 20)))


@pytest.mark.parametrize("size", [20, 33, 90])
@pytest.mark.parametrize("antialias", [True, False])
def test_bilinear_is_torchs_with_and_without_antialias(size: int, antialias: bool) -> None:
    given = picture(64, 64)
    pixels = torch.from_numpy(np.asarray(given).copy()).permute(2, 0, 1)[None].float()
    peer = F.interpolate(pixels, (size, size), mode="bilinear", antialias=antialias)[0].permute(1, 2, 0)
    found = torch.from_numpy(np.asarray(resized(given, Resize(size, "bilinear", antialias))).copy()).float()
    assert (found - peer).abs().max() <= 1.01, "whole numbers, after each of the two directions"
    assert (found - peer).abs().mean() < 0.6


def test_without_antialias_what_lies_between_is_not_seen() -> None:
    stripes = Image.fromarray(np.tile(np.array([[0], [255]], np.uint8).repeat(64, 1), (32, 1)))
    fine = np.asarray(resized(stripes, Resize(16, "bilinear")))
    coarse = np.asarray(resized(stripes, Resize(13, "bilinear", antialias=False)))
    assert np.abs(fine.astype(int) - 128).max() < 12, "grey"
    assert np.abs(coarse.astype(int) - 128).max() > 100


def test_what_cannot_be_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="size: 0; expected at least one pixel"):
        Resize(0)
    with pytest.raises(ValueError, match="lanczos without antialias: there is no such filter"):
        Resize(8, "lanczos", antialias=False)


def test_the_protocol_says_it_in_words() -> None:
    assert str(Resize(256)) == "PIL lanczos, antialiased, 256 px"
    assert str(Resize(64, "bicubic", antialias=False)) == "PIL bicubic, not antialiased, 64 px"
