"""The perceptual distance that a recipe names: of a section, with its weights, or refused by its field."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from infra.artifact import Folder
from infra.errors import UserError
from models.pipelines.opening import open_pipeline
from tasks.sections import Perceptual
from tasks.train.perceptual import pictures_of


def test_the_small_clip_compares_the_pictures_of_latents(teacher: Folder, clip: Folder) -> None:
    model, latents = open_pipeline(teacher.path), torch.randn(2, 3, 4, 8, 8)
    distance = pictures_of(model, Perceptual(), clip, "distill")
    assert distance(latents[0], latents[0]).abs().max() < 1e-6 < distance(latents[0], latents[1]).min()
    held = pictures_of(model, Perceptual(), clip, "distill", latent_weight=2.0)
    gap = (latents[0] - latents[1]).square().flatten(1).mean(1)
    torch.testing.assert_close(held(latents[0], latents[1]), distance(latents[0], latents[1]) + 2 * gap)


@pytest.mark.parametrize("section", ["distill", "reflow"])
def test_weights_that_are_none_are_named_by_their_field(section: str, teacher: Folder, tmp_path: Path) -> None:
    model, other = open_pipeline(teacher.path), tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.zeros(3)}, other)
    for path, expected in (
        (None, "null; expected a file"),
        (tmp_path / "none.pth", "none.pth: no such file|no file"),
        (other, "Missing key"),
    ):
        perceptual = Perceptual(kind="lpips", trunk_weights=path and str(path))
        with pytest.raises(UserError, match=rf"{section}\.perceptual\.trunk_weights: .*(?s:.*)({expected})"):
            pictures_of(model, perceptual, None, section)
