"""The COCO reader: the official schema, one caption per image, crop and resize."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from infra.artifact import Artifact
from infra.errors import UserError
from tasks.data.coco import Caption, read_captions, read_image


def content() -> dict[str, Any]:
    return {
        "info": {},
        "licenses": [],
        "images": [{"id": 9, "file_name": "nine.jpg"}, {"id": 4, "file_name": "four.jpg"}],
        "annotations": [
            {"id": 30, "image_id": 9, "caption": "last of nine"},
            {"id": 10, "image_id": 9, "caption": " first of nine\n"},
            {"id": 20, "image_id": 4, "caption": "of four"},
        ],
    }


def written(folder: Path, data: object) -> Path:
    path = folder / "captions.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_one_caption_per_image_the_lowest_id_in_the_order_of_the_images(tmp_path: Path) -> None:
    assert read_captions(written(tmp_path, content())) == [
        Caption(4, "four.jpg", "of four"),
        Caption(9, "nine.jpg", "first of nine"),
    ]


@given(st.permutations(range(3)), st.permutations(range(2)))
def test_the_rule_does_not_depend_on_the_order_in_the_file(
    tmp_path_factory: pytest.TempPathFactory, annotations: list[int], images: list[int]
) -> None:
    folder, data = tmp_path_factory.mktemp("coco"), content()
    data["annotations"] = [data["annotations"][i] for i in annotations]
    data["images"] = [data["images"][i] for i in images]
    assert read_captions(written(folder, data)) == read_captions(written(folder, content()))


def test_the_miniature_world_is_read_by_the_same_reader(coco: Artifact) -> None:
    captions = read_captions(coco.folder("coco") / "annotations" / "captions_val2017.json")
    assert len(captions) == 12
    for caption in captions:
        assert read_image(coco.folder("coco") / "val2017" / caption.file_name, 32).shape == (3, 32, 32)


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(lambda c: c.pop("images"), "KeyError: 'images'", id="no images"),
        pytest.param(lambda c: c.pop("annotations"), "KeyError: 'annotations'", id="no annotations"),
        pytest.param(lambda c: c["images"][0].pop("file_name"), "file_name", id="no file name"),
        pytest.param(lambda c: c["annotations"][0].pop("caption"), "caption", id="no caption"),
        pytest.param(lambda c: c["annotations"][0].pop("image_id"), "image_id", id="no image id"),
        pytest.param(lambda c: c["annotations"][1].update(image_id=5), "KeyError: 5", id="unknown image"),
        pytest.param(lambda c: c["annotations"][1].update(caption=None), "NoneType", id="null caption"),
        pytest.param(lambda c: c.update(images=3), "TypeError", id="images no list"),
        pytest.param(lambda c: c.update(annotations=[]), "holds no captions", id="empty"),
    ],
)
def test_what_the_schema_lacks_is_named(change: Change, named: str, tmp_path: Path) -> None:
    data = content()
    change(data)
    with pytest.raises(UserError) as raised:
        read_captions(written(tmp_path, data))
    assert str(tmp_path / "captions.json") in str(raised.value) and named in str(raised.value)
    assert "expected" in str(raised.value) and "annotations" in str(raised.value)


@pytest.mark.parametrize("data", [b'{"images": [', b"", b"\xff\xfe{}", b"[]"])
def test_broken_json_is_named(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"broken\.json: (broken JSON|not the COCO captions schema).*expected"):
        read_captions(path)


def test_missing_files_are_named_with_the_recipes_field(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json: no such file; .*coco\.annotations"):
        read_captions(tmp_path / "none.json")
    with pytest.raises(UserError, match=r"none\.png: no such picture; .*coco\.images"):
        read_image(tmp_path / "none.png")


@pytest.mark.parametrize("cut", [0, 10, 200])
def test_a_broken_picture_is_named(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"cut\.png: broken picture"):
        read_image(path)


@pytest.mark.parametrize(("width", "height"), [(60, 40), (40, 60), (41, 40), (40, 40)])
def test_a_picture_is_cut_in_the_centre_of_its_long_edge_and_resized(width: int, height: int, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "picture.png")
    left, top = (width - 40) // 2, (height - 40) // 2
    square = values[top : top + 40, left : left + 40]
    expected = np.asarray(Image.fromarray(square).resize((20, 20), Image.Resampling.LANCZOS))
    found = read_image(tmp_path / "picture.png", 20)
    assert (found.dtype, found.shape) == (torch.uint8, (3, 20, 20))
    np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), expected)


def test_a_picture_of_the_right_size_is_left_alone_and_gray_becomes_rgb(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (20, 20), np.uint8)
    Image.fromarray(values).save(tmp_path / "gray.png")
    for found in (read_image(tmp_path / "gray.png", 20), read_image(tmp_path / "gray.png")):
        np.testing.assert_array_equal(found.numpy(), np.stack([values] * 3))
