"""What a folder is, and what it is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from flows.run.sources import WEIGHTS
from flows.run.trees import tree_of
from infra.errors import UserError
from models.mini.world import write_split


@pytest.mark.parametrize(("name", "tree"), [("teacher", "model"), ("clip", "clip"), ("judge", "clip")])
def test_what_is_embedded_is_known(name: str, tree: str) -> None:
    assert tree_of(WEIGHTS / name) == tree


def test_captions_and_pictures_are_known(tmp_path: Path) -> None:
    write_split(tmp_path / "coco", "val2017", 2, 1, 0, lambda count: None)
    assert tree_of(tmp_path / "coco") == "coco"
    (tmp_path / "drawn").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "drawn" / "0.png")
    assert tree_of(tmp_path / "drawn") == "pictures"


def test_weights_are_known_by_their_suffix(tmp_path: Path) -> None:
    (tmp_path / "inception.pth").write_text("")
    assert tree_of(tmp_path) == "weights"


def test_what_cannot_be_used_is_said_in_words(tmp_path: Path) -> None:
    for name, expected in (
        ("absent", "absent: no such folder"),
        ("file", "file: is a file; expected the folder of a m"),
    ):
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match=expected):
            tree_of(tmp_path / name)
    folder = tmp_path / "folder"
    (folder / "annotations").mkdir(parents=True)
    with pytest.raises(UserError, match="folder: cannot tell what this is; expected a model"):
        tree_of(folder)
    (folder / "annotations" / "captions_val2017.json").write_text(json.dumps({"images": []}))
    with pytest.raises(UserError, match="captions_val2017.json: images: holds no captions"):
        tree_of(folder)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(UserError, match="model: .*folder"):
        tree_of(folder)
