"""A CLIP scores pictures and captions as open_clip does, and lends its layers to a perceptual distance."""

from __future__ import annotations

import shutil
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image
from torch import Tensor

from models.clip import Clip, ClipLayers, cosine, load_clip, published
from models.mini.captions import caption
from models.mini.render import render
from models.mini.scene import generator
from tasks.data.picture_batches import read_image
from tests import ROOT
from tests.models.judges import networks
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


@pytest.mark.parametrize("side", [16, 48, 32])
def test_layers_take_pictures_of_any_size_with_a_gradient(clip: Clip, side: int) -> None:
    picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).mul(2).sub(1).requires_grad_()
    maps = ClipLayers(clip)(picture)
    assert [tuple(one.shape) for one in maps] == [(1, 64, 8, 8)] * 4
    torch.stack([one.square().sum() for one in maps]).sum().backward()
    assert picture.grad is not None and (picture.grad != 0).float().mean() > 0.9


def test_a_tower_without_layers_is_told(clip: Clip) -> None:
    class Tower(torch.nn.Module):
        image_size = (32, 16)

    model = type("Model", (), {"visual": Tower()})()
    with pytest.raises(ValueError, match=r"Tower of \(32, 16\) pixels has no layers to compare pictures by"):
        ClipLayers(Clip(model, clip.preprocess, clip.tokenizer))


@pytest.mark.parametrize("side", [16, 48, 100])
def test_pictures_of_another_size_are_resized_by_open_clips_own_preprocessing(clip: Clip, side: int) -> None:
    pictures = networks.pictures(3, side)
    pixels = torch.stack([clip.preprocess(Image.fromarray(one.permute(1, 2, 0).numpy())) for one in pictures])
    with torch.no_grad():
        expected = clip.model.encode_image(pixels)
    assert torch.equal(clip.image_features(pictures), expected)


def test_what_is_no_picture_is_refused(clip: Clip) -> None:
    with pytest.raises(ValueError, match=r"pictures: float32 .*a judge takes uint8"):
        clip.image_features(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("architecture", "tag", "side"),
    [
        pytest.param("ViT-S-32-alt", None, 300, id="no published weights"),
        pytest.param("ViT-B-32", "openai", 64, id="quick gelu", marks=pytest.mark.slow),
        pytest.param("MobileCLIP-S1", None, 300, id="bilinear", marks=pytest.mark.slow),
    ],
)
def test_the_score_of_files_is_that_of_a_plain_open_clip_loop(
    architecture: str, tag: str | None, side: int, tmp_path: Path
) -> None:
    weights, captions = tmp_path / "weights.pt", ["a dog", "two cats on a mat", "A photo depicts nothing"]
    networks.clip(weights, architecture)
    told = open_clip.get_pretrained_cfg(architecture, tag or "datacompdr") or {}
    model, _, preprocess = open_clip.create_model_and_transforms(
        architecture,
        pretrained=str(weights),
        force_quick_gelu=bool(told.get("quick_gelu")),
        image_mean=told.get("mean"),
        image_std=told.get("std"),
        image_interpolation=told.get("interpolation"),
    )
    expected = []
    for number, (one, said) in enumerate(zip(networks.pictures(3, side), captions, strict=True)):
        path = tmp_path / f"{number}.png"
        Image.fromarray(one.permute(1, 2, 0).numpy()).save(path)
        with torch.no_grad():
            image = model.eval().encode_image(preprocess(Image.open(path))[None])
            text = model.encode_text(open_clip.get_tokenizer(architecture)([said]))
        expected.append((image / image.norm() * text / text.norm()).sum())
    judge = load_clip(architecture, str(weights), tag)
    pictures = torch.stack([read_image(tmp_path / f"{number}.png") for number in range(3)])
    found = cosine(judge.image_features(pictures), judge.text_features(captions))
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-6, atol=1e-6)


def test_published_weights_say_how_they_are_fed() -> None:
    assert published("ViT-SO400M-14-SigLIP", None) == published("ViT-SO400M-14-SigLIP", "webli")
    assert published("ViT-SO400M-14-SigLIP", None)["mean"] == (0.5, 0.5, 0.5)
    assert published("ViT-g-14", None)["interpolation"] == "bicubic"
    assert (
        published("ViT-B-32", "openai")["quick_gelu"] and not published("ViT-B-32", "laion2b_s34b_b79k")["quick_gelu"]
    )
    assert published("ViT-S-32-alt", None) == {}


def test_a_tag_that_is_needed_or_not_known_is_told() -> None:
    with pytest.raises(ValueError, match=r"clip tag null: the published weights of ViT-L-14 .* one of openai, "):
        published("ViT-L-14", None)
    with pytest.raises(ValueError, match=r"clip tag 'mine': ViT-g-14 has no such .* knows laion2b_s12b_b42k"):
        published("ViT-g-14", "mine")


def test_an_unknown_architecture_is_told_before_the_weights() -> None:
    with pytest.raises(ValueError, match="clip architecture 'ViT-g-15': open_clip has no such one; nearest: ViT-g-14"):
        load_clip("ViT-g-15", None)


def test_the_weights_of_another_network_are_told(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pt")
    (tmp_path / "page.bin").write_text("<html>")
    (tmp_path / "page.safetensors").write_text("<html>404 not found</html>")
    for name in ("other.pt", "page.bin", "page.safetensors"):
        with pytest.raises(ValueError, match=rf"clip weights: .*{name} are not those of ViT-S-32-alt: "):
            load_clip("ViT-S-32-alt", str(tmp_path / name))


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
        FileNotFoundError, match=r"clip weights: no file '.*open_clip_model\.safetensors' .*'mini-vit-clip'"
    ):
        load_clip(str(folder), None)
