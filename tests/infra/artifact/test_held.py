"""What an artifact holds is named by an address, and is by content what lies on a disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.artifact import Artifact, Folder
from infra.artifact.held import Held
from infra.errors import UserError
from infra.store import Store
from infra.upkeep.adding import add
from tests.infra.small_artifact import make


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "judges"
    (folder / "dino").mkdir(parents=True)
    (folder / "inception.pth").write_text("inception")
    (folder / "dino" / "config.json").write_text("{}")
    return folder


@pytest.fixture
def added(store: Store, weights: Path) -> Artifact:
    return add(store, weights, "weights")[0]


def test_a_file_and_a_folder_by_address(added: Artifact, weights: Path) -> None:
    for name in ("", "inception.pth", "dino/config.json"):
        here, there = Folder.open(weights / name), Held.at(f"{added.uri}/{name}")
        assert there is not None and there.digest == here.digest and there.uri == f"{added.uri}/{name}".rstrip("/")
        assert Folder.open(there.path).digest == here.digest


def test_a_file_of_any_artifact_by_its_logical_name(store: Store) -> None:
    made = make(store)
    held = Held.at(f"{made.uri}/model/unet/config.json")
    assert held is not None and held.path.read_text() == '{"a": 1}'


def test_a_path_of_this_machine_is_none(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "data" / ("0" * 16)).mkdir(parents=True)
    for path in (str(weights), "inception.pth", str(tmp_path / "data" / ("0" * 16) / "x.pth"), ""):
        assert Held.at(path) is None


def test_what_is_not_there_is_named(added: Artifact) -> None:
    with pytest.raises(UserError, match="holds no file weights/absent.pth; it has weights"):
        Held.at(f"{added.uri}/absent.pth")


def test_what_is_in_no_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="artifact added/0000000000000000: nothing of that name in memory://bucket"):
        Held.at(f"memory://bucket{tmp_path}/added/{'0' * 16}/x.pth")
