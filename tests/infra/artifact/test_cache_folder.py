"""The cache keeps to a folder of its own, and takes nobody's for its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.artifact.cache_folder import cache_folder, claimed
from infra.errors import UserError
from infra.store import open_store
from tests.infra.small_artifact import make


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INSTAFLOW_CACHE", str(tmp_path / "place"))
    return tmp_path / "place"


def test_it_is_made_and_found_again(place: Path) -> None:
    assert not place.exists() and claimed() == claimed() == cache_folder() == place / "instaflow-cache"
    assert [path.name for path in place.iterdir()] == ["instaflow-cache"]


def test_an_empty_folder_is_taken() -> None:
    cache_folder().mkdir(parents=True)
    assert [path.name for path in claimed().iterdir()] == [".instaflow-cache"]


def test_somebodys_folder_is_refused_by_name(place: Path, tmp_path: Path) -> None:
    cache_folder().mkdir(parents=True)
    (cache_folder() / "thesis.tex").write_text("three years")
    made = make(open_store(f"memory://bucket{tmp_path}"))
    for _ in range(2):
        with pytest.raises(UserError, match=f"cache {cache_folder()}: this folder is somebody's.*INSTAFLOW_CACHE"):
            made.fetch("shard-000000.tar")
    assert [path.name for path in place.rglob("*")] == ["instaflow-cache", "thesis.tex"]


def test_a_file_is_refused_by_name(place: Path) -> None:
    place.mkdir()
    cache_folder().write_text("no folder")
    with pytest.raises(UserError, match=f"cache {cache_folder()}: this folder is somebody's"):
        claimed()
    assert cache_folder().read_text() == "no folder"


def test_who_comes_first_makes_it_and_all_have_it(place: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        assert {*pool.map(lambda _: claimed(), range(64))} == {cache_folder()}
    assert [path.name for path in place.iterdir()] == ["instaflow-cache"]
