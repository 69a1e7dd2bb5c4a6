"""A teacher by its id and revision: out of the hub's cache, downloaded only where the recipe asks for it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from flows.run.hub import SCHEME
from flows.run.sources import given
from infra.errors import UserError
from tasks.sections import TeacherSource


def test_the_recipe_writes_the_address() -> None:
    source = TeacherSource(path="owner/model", revision="v1.5")
    assert source.address == f"{SCHEME}owner/model@v1.5"
    assert source.model_copy(update={"download": True}).address == f"{SCHEME}owner/model@v1.5?download"
    assert TeacherSource(path="weights/sd").address == "weights/sd"


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with one repository in it, as the hub's own client leaves it."""
    cache, commit_hash = tmp_path / "hub", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
    repository = cache / "models--owner--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "v1.5").write_text(commit_hash)
    (repository / "blobs").mkdir()
    blob = repository / "blobs" / "0a"
    blob.write_text("{}")
    snapshot = repository / "snapshots" / commit_hash
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").symlink_to(blob)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return snapshot


def test_a_teacher_of_the_hub_lies_in_its_cache(cached: Path) -> None:
    by_tag, by_commit = given("model", "hub://owner/model@v1.5"), given("model", f"hub://owner/model@{cached.name}")
    assert by_tag.uri == by_commit.uri == str(cached) and by_tag.digest == by_commit.digest
    assert (by_tag.folder("model") / "model_index.json").read_text() == "{}"


@pytest.mark.parametrize("name", ["owner/model@main", "owner/other@v1.5"])
def test_nothing_is_downloaded_unasked(name: str, cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reached(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", reached)
    repository, _, revision = name.partition("@")
    with pytest.raises(
        UserError, match=rf"{repository} at {revision} is not in the hub's cache.*hf download {repository}"
    ):
        given("model", f"hub://{name}")


def test_a_download_that_fails_says_so(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"^owner/other at v1 cannot be downloaded: "):
        given("model", "hub://owner/other@v1?download")
