"""Pictures as tensors: cut, resized, in order, each read once, the next ones ahead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from infra.errors import UserError
from models.resizing import Resize, resized
from tasks.data import picture_batches as module
from tasks.data.picture_batches import picture_batches, read_image


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    rng, found = np.random.default_rng(0), [tmp_path / f"{number}.png" for number in range(11)]
    for number, path in enumerate(found):
        Image.fromarray(rng.integers(0, 256, (20 + number, 31 - number, 3), np.uint8)).save(path)
    return found


def test_a_picture_is_read_as_it_is_or_to_size(paths: list[Path]) -> None:
    whole, small = read_image(paths[0]), read_image(paths[0], Resize(8))
    assert (whole.shape, whole.dtype, small.shape) == ((3, 20, 31), torch.uint8, (3, 8, 8))
    expected = resized(Image.open(paths[0]), Resize(8))
    np.testing.assert_array_equal(small.permute(1, 2, 0).numpy(), np.asarray(expected))


@pytest.mark.parametrize("workers", [1, 4])
def test_batches_are_the_pictures_in_order(paths: list[Path], workers: int) -> None:
    batches = list(picture_batches(paths, Resize(16), 4, workers))
    assert [len(batch) for batch in batches] == [4, 4, 3]
    assert torch.equal(torch.cat(batches), torch.stack([read_image(path, Resize(16)) for path in paths]))
    assert list(picture_batches([], Resize(16), 4)) == []


def test_each_is_read_once_and_few_ahead(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counting(path: Path, to: Resize | None = None) -> torch.Tensor:
        read.append(path)
        return read_image(path, to)

    monkeypatch.setattr(module, "read_image", counting)
    batches = picture_batches(paths, Resize(8), 2, workers=1)
    next(batches)
    assert len(read) <= 4, "a batch, and two for the thread"
    list(batches)
    assert read == paths


def test_a_broken_one_is_named(paths: list[Path]) -> None:
    paths[5].write_bytes(paths[5].read_bytes()[:60])
    batches = picture_batches(paths, Resize(8), 5)
    assert len(next(batches)) == 5
    with pytest.raises(UserError, match=r"5\.png: broken picture"):
        next(batches)
