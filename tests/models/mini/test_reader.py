"""What a picture shows is read from it, and compared with what its caption says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from models.judges.pixels import pictures_at
from models.mini.reader import (
    AttributeReader,
    attribute_hits,
    load_reader,
    read_attributes,
    reader_loss,
    save_reader,
)
from models.mini.render import render
from models.mini.scene import ATTRIBUTES
from models.resizing import Resize
from tests import ROOT
from tests.models.mini.drawn import scene

EMBEDDED = ROOT / "models" / "mini" / "weights" / "clip"


def test_hits_count_what_the_caption_mentions() -> None:
    shown = dict(colour="red", shape="circle", size="large", background="blue", position="left")
    captions = ["a large red circle", "a small red circle", "a picture"]
    assert attribute_hits([shown] * 3, captions).tolist() == [[3, 3], [2, 3], [0, 0]]


def test_every_picture_has_its_caption() -> None:
    with pytest.raises(ValueError):
        attribute_hits([{"shape": "ring"}], ["a ring", "a ring"])


def test_the_embedded_reader_reads_what_the_renderer_draws() -> None:
    scenes = [scene(index, held_out=True, seed=7) for index in range(200)]
    pictures = torch.stack([torch.from_numpy(render(drawn)).permute(2, 0, 1) for drawn in scenes])
    read = read_attributes(load_reader(EMBEDDED), pictures)
    right = [seen == drawn.attributes for seen, drawn in zip(read, scenes, strict=True)]
    assert sum(right) >= 190


def test_pictures_of_another_size_are_resized() -> None:
    scenes = [scene(index, held_out=True, seed=7) for index in range(60)]
    pictures = torch.stack([torch.from_numpy(render(drawn)).permute(2, 0, 1) for drawn in scenes])
    large = pictures_at(pictures, Resize(80, "bicubic"))
    read = read_attributes(load_reader(EMBEDDED), large)
    assert sum(seen == drawn.attributes for seen, drawn in zip(read, scenes, strict=True)) >= 50


def test_what_is_saved_is_loaded_and_frozen(tmp_path: Path) -> None:
    torch.manual_seed(0)
    reader, images = AttributeReader(), torch.rand(2, 3, 32, 32) * 2 - 1
    save_reader(reader, tmp_path)
    loaded = load_reader(tmp_path)
    assert not loaded.training and not any(one.requires_grad for one in loaded.parameters())
    for name, logits in reader(images).items():
        assert torch.equal(loaded(images)[name], logits) and logits.shape == (2, len(ATTRIBUTES[name]))


def test_the_loss_is_the_sum_over_the_attributes() -> None:
    reader = AttributeReader()
    with torch.no_grad():  # so that it has no opinion
        for head in reader.heads.values():
            head.weight.zero_()
            head.bias.zero_()
    labels = {name: torch.tensor([0, len(values) - 1]) for name, values in ATTRIBUTES.items()}
    expected = sum(math.log(len(values)) for values in ATTRIBUTES.values())
    assert reader_loss(reader, torch.zeros(2, 3, 32, 32), labels).item() == pytest.approx(expected, rel=1e-6)
