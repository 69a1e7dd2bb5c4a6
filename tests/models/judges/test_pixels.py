"""A batch becomes what torchvision makes of each picture; a gradient passes where there is one."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torchvision.transforms import Compose, Normalize, ToTensor

from models.judges.pixels import IMAGENET, accelerator, as_pictures, fitted, full_precision, normalised, pictures_at
from models.resizing import Resize, resized
from tests.models.judges.networks import pictures

CPU = torch.device("cpu")


def test_a_batch_is_normalised_as_torchvision_does_each() -> None:
    images, each = pictures(3, 20), Compose([ToTensor(), Normalize(*IMAGENET)])
    expected = torch.stack([each(Image.fromarray(one.permute(1, 2, 0).numpy())) for one in images])
    assert torch.equal(normalised(images, *IMAGENET, CPU), expected)
    assert images.dtype == torch.uint8, "the pictures themselves stay"


@pytest.mark.parametrize("to", [Resize(16, "bicubic"), Resize(50, "lanczos"), Resize(16, "bilinear", antialias=False)])
def test_pictures_are_resized_as_files_are(to: Resize) -> None:
    images = pictures(3, 40)
    found = pictures_at(images, to)
    assert found.shape == (3, 3, to.size, to.size) and found.dtype == torch.uint8
    for one, given in zip(found, images, strict=True):
        expected = resized(Image.fromarray(given.permute(1, 2, 0).numpy()), to)
        assert Image.fromarray(one.permute(1, 2, 0).numpy()).tobytes() == expected.tobytes()
    assert pictures_at(images, Resize(40)) is images


def test_a_gradient_passes_through_the_differentiable_resizing() -> None:
    given = (pictures(2, 40).float() / 255).requires_grad_()
    fitted(given, 16).sum().backward()
    assert given.grad is not None and (given.grad != 0).all(), "antialias: every pixel counts"
    assert fitted(given, 40) is given
    whole, expected = fitted(given, 16).detach() * 255, pictures_at(pictures(2, 40), Resize(16, "bicubic")).float()
    assert (whole.clamp(0, 255) - expected).abs().max() < 2, "near Pillow's"


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(1, 3, 8, 8),
        torch.zeros(1, 4, 8, 8, dtype=torch.uint8),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
    ],
)
def test_only_eight_bit_rgb_is_taken(wrong: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"pictures: (float32|uint8) \[.*\]; a judge takes uint8 \[B, 3, H, W\]"):
        as_pictures(wrong)


def test_full_precision_is_given_back() -> None:
    before = torch.backends.cudnn.allow_tf32
    with full_precision():
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before
    assert accelerator().type == ("cuda" if torch.cuda.is_available() else "cpu")
