"""A split is in the MS COCO layout, and a function of its seed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from models.mini.captions import mentioned
from models.mini.scene import ATTRIBUTES, is_held_out
from models.mini.world import write_split

IMAGE_FIELDS = {
    "license": int, "file_name": str, "coco_url": str, "height": int, "width": int, "date_captured": str,
    "flickr_url": str, "id": int,
}  # fmt: skip


INFO_FIELDS = {"description", "url", "version", "year", "contributor", "date_created"}


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coco")
    for split in ("train2017", "val2017"):
        write_split(folder, split, 12, 3, 1, lambda _: None)
    return folder


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_a_split_is_in_the_official_coco_schema(coco: Path, split: str) -> None:
    content = json.loads((coco / "annotations" / f"captions_{split}.json").read_text())
    assert content.keys() == {"info", "licenses", "images", "annotations"}
    assert content["info"].keys() == INFO_FIELDS
    assert all({k: type(v) for k, v in image.items()} == IMAGE_FIELDS for image in content["images"])
    assert all(
        {k: type(v) for k, v in a.items()} == {"image_id": int, "id": int, "caption": str}
        for a in content["annotations"]
    )
    ids = [image["id"] for image in content["images"]]
    assert len({*ids}) == 12
    assert sorted(a["image_id"] for a in content["annotations"]) == sorted(ids * 3)
    assert len({a["id"] for a in content["annotations"]}) == 36
    for image in content["images"]:
        assert image["file_name"] == f"{image['id']:012d}.png"
        with Image.open(coco / split / image["file_name"]) as picture:
            assert (picture.size, picture.mode) == ((image["width"], image["height"]), "RGB")


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_captions_of_a_split_are_true_of_its_scenes_and_held_out_ones_are_in_val(coco: Path, split: str) -> None:
    annotations = json.loads((coco / "annotations" / f"captions_{split}.json").read_text())["annotations"]
    shown = json.loads((coco / "annotations" / f"scenes_{split}.json").read_text())
    for annotation in annotations:
        assert mentioned(annotation["caption"]).items() <= shown[str(annotation["image_id"])].items()
    assert {is_held_out(tuple(s[name] for name in ATTRIBUTES)) for s in shown.values()} == {split == "val2017"}


def test_a_split_is_a_function_of_its_seed_and_a_longer_one_goes_on_with_it(coco: Path, tmp_path: Path) -> None:
    told: list[int] = []
    write_split(tmp_path, "val2017", 15, 3, 1, told.append)
    assert told == [1] * 15
    for path in (coco / "val2017").iterdir():
        assert (tmp_path / "val2017" / path.name).read_bytes() == path.read_bytes()
    write_split(tmp_path, "val2017", 12, 3, 1, lambda _: None)
    name = "annotations/captions_val2017.json"
    assert (tmp_path / name).read_bytes() == (coco / name).read_bytes()
