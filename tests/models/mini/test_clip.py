"""The miniature CLIP is an open_clip model, trained by its contrastive loss and written as a folder that loads."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms.functional import to_pil_image as to_pil

from models.clip import load_clip
from models.mini.clip import Vision, build_clip, clip_loss, configuration, save_clip
from models.mini.tokenizer import CONTEXT_LENGTH
from tests.models.untrained import captions, merges

PICTURES, TOKENS = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)), 700


def tokens(count: int = 4) -> torch.Tensor:
    return torch.randint(0, TOKENS, (count, CONTEXT_LENGTH), generator=torch.Generator().manual_seed(1))


VISIONS: tuple[Vision, ...] = ("vit", "resnet")


@pytest.mark.parametrize("vision", VISIONS)
def test_it_is_small_and_takes_32_pixels_and_the_grammars_context(vision: Vision) -> None:
    clip = build_clip(TOKENS, vision)
    assert 3e5 < sum(one.numel() for one in clip.parameters()) < 6e5
    image, text, _ = clip(PICTURES, tokens())
    assert image.shape == text.shape == (4, 64)


def test_the_loss_is_that_of_chance_when_nothing_is_told_apart() -> None:
    torch.manual_seed(0)
    clip = build_clip(TOKENS)
    same = clip_loss(clip, PICTURES[:1].expand(4, -1, -1, -1), tokens(1).expand(4, -1))
    assert same.item() == pytest.approx(math.log(4), rel=1e-5)


def test_the_loss_asks_for_the_caption_of_a_picture_and_for_the_picture_of_a_caption() -> None:
    torch.manual_seed(0)
    clip = build_clip(TOKENS)
    loss = clip_loss(clip, PICTURES, tokens())
    with torch.no_grad():
        image, text, scale = clip(PICTURES, tokens())
        logits, own = scale * image @ text.T, torch.arange(4)
        expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    torch.testing.assert_close(loss.detach(), expected)
    loss.backward()
    for tower in (clip.visual, clip.transformer):
        assert any(one.grad is not None and one.grad.abs().sum() > 0 for one in tower.parameters())


@pytest.mark.parametrize("vision", VISIONS)
def test_what_is_saved_is_loaded_in_half_precision(vision: Vision, tmp_path: Path) -> None:
    words, folder = merges(), tmp_path / "new" / "clip"
    clip = build_clip(len(words) + 514, vision).eval()
    save_clip(clip, words, folder, vision)
    written = json.loads((folder / f"mini-{vision}-clip.json").read_text())
    assert written == json.loads(json.dumps(configuration(len(words) + 514, vision)))
    loaded = load_clip(str(folder), None)
    texts, pictures = captions(3), (PICTURES * 255).to(torch.uint8)
    with torch.no_grad():
        clip.half().float()
        expected = clip.encode_text(loaded.tokenizer(texts))
        seen = clip.encode_image(torch.stack([loaded.preprocess(to_pil(one)) for one in pictures]))
    assert torch.equal(loaded.text_features(texts), expected)
    torch.testing.assert_close(loaded.image_features(pictures), seen)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1_000_000


def test_equal_weights_are_equal_bytes(tmp_path: Path) -> None:
    words = merges()
    clip = build_clip(len(words) + 514)
    for name in ("a", "b"):
        save_clip(clip, words, tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name
