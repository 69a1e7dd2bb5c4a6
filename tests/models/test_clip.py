"""A CLIP scores pictures and captions as open_clip does, and lends its layers to a perceptual distance."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from models.clip import Clip, ClipLayers, cosine, load_clip
from models.mini.captions import caption
from models.mini.render import render
from models.mini.scene import generator
from tests import ROOT
from tests.models.mini.drawn import scene

EMBEDDED = ROOT / "models" / "mini" / "weights" / "clip"


@pytest.fixture(scope="module")
def clip() -> Clip:
    return load_clip(str(EMBEDDED), None)


def drawn(count: int) -> tuple[Tensor, list[str]]:
    """Held-out pictures uint8 [count, 3, 32, 32] and their captions."""
    scenes = [scene(index, held_out=True, seed=5) for index in range(count)]
    pictures = torch.stack([torch.from_numpy(render(one)).permute(2, 0, 1) for one in scenes])
    return pictures, [caption(one, generator(6, index)) for index, one in enumerate(scenes)]


def test_a_picture_fits_its_own_caption_best(clip: Clip) -> None:
    pictures, captions = drawn(64)
    image, text = clip.image_features(pictures), clip.text_features(captions)
    own = cosine(image, text)
    others = torch.stack([cosine(image, text.roll(shift, 0)) for shift in range(1, 64)])
    assert own.mean() > others.mean() + 0.3
    assert (own > others).float().mean() > 0.9  # captions leave things open: another may fit as well


def test_features_are_open_clips_of_its_own_preprocessing(clip: Clip) -> None:
    pictures, captions = drawn(3)
    pixels = torch.stack([clip.preprocess(Image.fromarray(one.permute(1, 2, 0).numpy())) for one in pictures])
    with torch.no_grad():
        image, text = clip.model.encode_image(pixels), clip.model.encode_text(clip.tokenizer(captions))
    assert torch.equal(clip.image_features(pictures), image) and torch.equal(clip.text_features(captions), text)
    assert not clip.model.training and not any(one.requires_grad for one in clip.model.parameters())


def test_the_score_is_the_cosine_of_each_row() -> None:
    a, b = torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[5.0, 0.0], [4.0, -3.0]])
    torch.testing.assert_close(cosine(a, b), torch.tensor([1.0, 0.0]))


def test_layers_are_maps_of_the_same_pixels(clip: Clip) -> None:
    layers, pictures = ClipLayers(clip), drawn(2)[0]
    maps = layers(pictures / 127.5 - 1)
    assert [tuple(one.shape) for one in maps] == [(2, 64, 8, 8)] * 4, "four layers of 4-pixel patches"
    pixels = torch.stack([clip.preprocess(Image.fromarray(one.permute(1, 2, 0).numpy())) for one in pictures])
    found = clip.model.visual.forward_intermediates(pixels, indices=4, output_fmt="NCHW", intermediates_only=True)
    for one, other in zip(maps, found["image_intermediates"], strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_the_gradient_passes_through_the_layers_to_the_picture(clip: Clip) -> None:
    picture = (drawn(1)[0] / 127.5 - 1).requires_grad_()
    torch.stack([one.square().sum() for one in ClipLayers(clip)(picture)]).sum().backward()
    assert picture.grad is not None and (picture.grad != 0).float().mean() > 0.9


@pytest.mark.parametrize("weights", [None, "absent.bin"])
def test_missing_weights_are_named_with_the_architecture(weights: str | None) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        load_clip("ViT-g-14", weights)
    assert str(caught.value) == f"clip weights: no file {weights!r} for architecture 'ViT-g-14'"


@pytest.mark.parametrize(("names", "found"), [([], 0), (["a-clip.json", "b-clip.json"], 2), (["config.json"], 0)])
def test_a_folder_has_one_configuration(names: list[str], found: int, tmp_path: Path) -> None:
    for name in names:
        shutil.copyfile(EMBEDDED / "mini-vit-clip.json", tmp_path / name)
    with pytest.raises(FileNotFoundError, match=rf"expected one NAME-clip\.json .*, found {found}$"):
        load_clip(str(tmp_path), None)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(EMBEDDED, folder)
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"clip weights: no file '.*open_clip_model\.safetensors' .*'mini-clip'"
    ):
        load_clip(str(folder), None)
