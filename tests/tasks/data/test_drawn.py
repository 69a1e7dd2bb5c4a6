"""A picture belongs to the caption whose name or number it has; nothing is guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import UserError
from tasks.data.drawn import files_in, paired

CAPTIONS = ["000000000139.jpg", "000000000285.jpg", "000000000632.jpg"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "notes.txt").touch()
    return tmp_path / "pictures"


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


def test_by_the_names_of_the_captions_own_pictures(folder: Path) -> None:
    put(folder, "000000000632.png", "000000000139.PNG", "000000000285.jpg")
    assert [path.name for path in paired(folder, CAPTIONS)] == [
        "000000000139.PNG", "000000000285.jpg", "000000000632.png",
    ]  # fmt: skip
    assert [path.name for path in paired(folder, CAPTIONS[1:2])] == ["000000000285.jpg"], "as many as are asked for"


@pytest.mark.parametrize("names", [("0.png", "1.png", "2.png"), ("1.jpg", "2.jpg", "3.jpg"), ("p_00.png", "p_01.png")])
def test_by_number_from_0_or_1(folder: Path, names: tuple[str, ...]) -> None:
    put(folder, *names)
    assert [path.name for path in paired(folder, CAPTIONS[: len(names)])] == [*names]


def test_numbers_are_numbers_and_no_letters(folder: Path) -> None:
    put(folder, *(f"{number}.png" for number in range(12)))
    found = paired(folder, [f"{100 + number}.jpg" for number in range(12)])
    assert [path.stem for path in found] == [str(number) for number in range(12)]


@pytest.mark.parametrize(
    "names",
    [
        ("a.png", "b.png", "c.png"),  # an order, but whose?
        ("0.png", "1.png", "3.png"),  # one is missing
        ("2.png", "3.png", "4.png"),
        ("a0.png", "b1.png", "b2.png"),
        ("0.png", "1.png"),  # too few
        ("000000000139.png", "000000000285.png", "000000000633.png"),
    ],
)
def test_what_cannot_be_told_is_refused(folder: Path, names: tuple[str, ...]) -> None:
    put(folder, *names)
    with pytest.raises(UserError, match=r"which caption each of its \d pictures was drawn from .* 0\.png to 2\.png\.$"):
        paired(folder, CAPTIONS)


def test_two_of_one_name_are_refused(folder: Path) -> None:
    put(folder, "0.png", "0.jpg", "1.png")
    with pytest.raises(UserError, match=r"0\.jpg and 0\.png are of one caption"):
        paired(folder, CAPTIONS)


def test_what_is_no_folder_of_pictures_has_none(folder: Path) -> None:
    assert files_in(folder) == [] and files_in(folder / "notes.txt") == []
