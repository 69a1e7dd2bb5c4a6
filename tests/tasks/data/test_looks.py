"""The first latents of a kind are drawn, whatever is in them, and nothing where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from infra.artifact import Folder
from models.pipelines.opening import open_pipeline
from tasks.data.looks import SHOWN, Look
from tasks.data.strip import SIDE


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e30, 0.0])
def test_what_is_no_picture_is_drawn_all_the_same(value: float, teacher: Folder, tmp_path: Path) -> None:
    look, model = Look(), open_pipeline(teacher.path)
    for _ in range(SHOWN + 3):
        look.see(torch.full(model.latent_shape, value))
    (path,) = look.draw(model, tmp_path / "look.webp")
    assert Image.open(path).width // (2 * SIDE) == SHOWN


def test_nothing_is_drawn_of_nothing(teacher: Folder, tmp_path: Path) -> None:
    assert not [*Look().draw(open_pipeline(teacher.path), tmp_path / "look.webp")] and not [*tmp_path.iterdir()]
