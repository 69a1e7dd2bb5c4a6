"""The COCO reader: the official schema, one caption per picture, and a word for everything that is odd."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.artifact import Artifact
from infra.errors import UserError
from tasks.data.coco import Caption, read_all_captions, read_captions, read_file_names
from tasks.data.picture_batches import read_image


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


def test_the_pictures_of_a_split_are_told_without_captions_too(tmp_path: Path) -> None:
    data = content()
    data["images"].append({"id": 5, "file_name": "five.jpg"})
    path = written(tmp_path, data)
    assert read_file_names(path) == ["four.jpg", "five.jpg", "nine.jpg"]
    assert [caption.file_name for caption in read_captions(path)] == ["four.jpg", "nine.jpg"]


@given(st.permutations(range(3)), st.permutations(range(2)))
def test_the_rule_does_not_depend_on_the_order_in_the_file(
    tmp_path_factory: pytest.TempPathFactory, annotations: list[int], images: list[int]
) -> None:
    folder, data = tmp_path_factory.mktemp("coco"), content()
    data["annotations"] = [data["annotations"][i] for i in annotations]
    data["images"] = [data["images"][i] for i in images]
    assert read_captions(written(folder, data)) == read_captions(written(folder, content()))


def test_a_blank_caption_gives_way_to_the_next_one_with_words(tmp_path: Path) -> None:
    data = content()
    data["annotations"][1]["caption"] = " \n"
    assert read_captions(written(tmp_path, data))[1] == Caption(9, "nine.jpg", "last of nine")
    assert [caption.text for caption in read_all_captions(written(tmp_path, data))] == ["of four", "last of nine"]


def test_a_picture_of_blank_captions_is_refused_and_one_without_any_is_left_out(tmp_path: Path) -> None:
    data = content()
    data["annotations"][2]["caption"] = ""
    with pytest.raises(UserError, match=r"every caption of image 4 \(four\.jpg\) is blank; expected .* Write one"):
        read_captions(written(tmp_path, data))
    del data["annotations"][2]
    assert [caption.image_id for caption in read_captions(written(tmp_path, data))] == [9]


def test_all_captions_are_read_where_every_one_counts(tmp_path: Path) -> None:
    texts = [caption.text for caption in read_all_captions(written(tmp_path, content()))]
    assert texts == ["first of nine", "of four", "last of nine"], "in the order of their ids"


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: b"\xef\xbb\xbf" + data], ids=["gzip", "byte order mark"])
def test_a_packed_or_marked_file_is_read_as_it_is(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    plain = written(tmp_path, content())
    packed = tmp_path / "packed.json"
    packed.write_bytes(pack(plain.read_bytes()))
    assert read_captions(packed) == read_captions(plain)


def test_a_picture_may_lie_in_a_folder_of_the_folder(tmp_path: Path) -> None:
    data = content()
    data["images"][0]["file_name"] = "./part/nine.jpg"
    assert read_captions(written(tmp_path, data))[1].file_name == "part/nine.jpg"


def test_the_miniature_world_is_read_by_the_same_reader(coco: Artifact) -> None:
    captions = read_captions(coco.folder("coco") / "annotations" / "captions_val2017.json")
    assert len(captions) == 12
    for caption in captions:
        assert read_image(coco.folder("coco") / "val2017" / caption.file_name).shape == (3, 32, 32)


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(lambda c: c.pop("images"), "images: null; not the COCO captions schema", id="no images"),
        pytest.param(lambda c: c.pop("annotations"), "annotations: null", id="no annotations"),
        pytest.param(lambda c: c.update(images=3), "images: 3", id="images no list"),
        pytest.param(lambda c: c.update(annotations=[]), "holds no captions", id="empty"),
        pytest.param(lambda c: c["images"].append(7), "images[2]: 7", id="image no object"),
        pytest.param(lambda c: c["images"][0].pop("file_name"), "images[0].file_name: missing", id="no file name"),
        pytest.param(lambda c: c["images"][0].update(file_name=9), "images[0].file_name: 9", id="integer file name"),
        pytest.param(lambda c: c["images"][0].update(id="9"), 'images[0].id: "9"; expected a whole', id="text id"),
        pytest.param(lambda c: c["images"][0].update(id=True), "images[0].id: true", id="id true"),
        pytest.param(lambda c: c["images"][1].update(id=9), "images[1].id: 9 is also the id of nine.jpg", id="one id"),
        pytest.param(
            lambda c: c["images"][1].update(file_name="./nine.jpg"),
            "images[1].file_name: nine.jpg is also that of image 9",
            id="one file",
        ),
        pytest.param(lambda c: c["annotations"][0].pop("caption"), "annotations[0].caption: missing", id="no caption"),
        pytest.param(lambda c: c["annotations"][1].update(caption=None), "annotations[1].caption: null", id="null"),
        pytest.param(lambda c: c["annotations"][1].update(caption=["a"]), "annotations[1].caption: list", id="list"),
        pytest.param(lambda c: c["annotations"][1].update(caption="\ud800"), "half a character", id="surrogate"),
        pytest.param(lambda c: c["annotations"][0].pop("image_id"), "annotations[0].image_id: missing", id="no image"),
        pytest.param(lambda c: c["annotations"][1].update(image_id=5), "annotations[1].image_id: 5", id="unknown"),
        pytest.param(lambda c: c["annotations"][1].update(id=30), "annotations: id 30 stands twice", id="twice"),
    ],
)
def test_what_is_odd_is_named_with_its_place(change: Change, named: str, tmp_path: Path) -> None:
    data = content()
    change(data)
    with pytest.raises(UserError) as raised:
        read_captions(written(tmp_path, data))
    assert str(tmp_path / "captions.json") in str(raised.value) and named in str(raised.value)
    assert "expected" in str(raised.value)


@pytest.mark.parametrize(
    "name", ["../x.jpg", "a/../../x.jpg", "/etc/x.jpg", "C:\\x.jpg", "..\\x.jpg", "", ".", "a\0.jpg"]
)
def test_a_file_name_that_leads_out_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    data = content()
    data["images"][1]["file_name"] = name
    with pytest.raises(UserError, match=r"images\[1\]\.file_name: .* is no file within the folder .*coco\.images"):
        read_captions(written(tmp_path, data))


@pytest.mark.parametrize(
    "data",
    [
        b'{"images": [',
        b"",
        b"\xff\xfe{}",
        b"[]",
        pytest.param(b"[" * 100_000, id="deeply nested"),
        pytest.param(gzip.compress(b"{}" * 99)[:-9], id="cut gzip"),
        pytest.param(b"\x1f\x8bno gzip", id="no gzip"),
    ],
)
def test_broken_files_are_named(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"broken\.json: (broken JSON|broken gzip|not the COCO captions).*expected"):
        read_captions(path)


def test_missing_files_are_named_with_the_recipes_field(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json: no such file; .*coco\.annotations"):
        read_captions(tmp_path / "none.json")
    with pytest.raises(UserError, match=r"Is a directory; .*coco\.annotations"):
        read_captions(tmp_path)
