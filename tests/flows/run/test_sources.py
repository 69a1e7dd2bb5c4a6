"""An input is what its name says: what is embedded, a folder that lies ready, an artifact."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.run.sources import folder_of, given, open_input
from infra.artifact import Artifact, Folder, stamps
from infra.artifact.fingerprint import sha256_file
from infra.errors import UserError
from infra.store import open_store
from infra.upkeep.naming import give_name
from tests.infra.chain import make
from tests.infra.counted import aged
from tests.tasks.small_run import commit


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    folder = tmp_path / "teacher"
    folder.mkdir()
    (folder / "model_index.json").write_text("{}")
    return folder


def test_what_is_embedded(weights: Path) -> None:
    embedded = {("model", "mini"): "teacher", ("clip", "mini"): "clip", ("clip", "mini-judge"): "judge"}
    for (tree, called), folder in embedded.items():
        found = given(tree, called)
        assert folder_of(tree, called) == weights / folder == found.folder(tree)
        assert open_input(open_store(weights / "store"), tree, called).uri == str(weights / folder)


def test_nothing_is_embedded_of_another_kind(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(weights)
    with pytest.raises(UserError, match="^mini: no such file or folder"):
        given("coco", "mini")


def test_a_folder_by_its_path(teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(teacher.parent)
    found = given("model", "teacher")
    assert found.uri == str(teacher) and found.digest == Folder.open(teacher).digest
    assert found.folder("model") == teacher, "the tree is the folder itself"


def test_a_folder_is_read_once_and_again_when_it_changed(teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker lives for weeks; a plan must not read a teacher and all of COCO each time."""
    index, read = aged(teacher / "model_index.json", 60), []
    monkeypatch.setattr(stamps, "sha256_file", lambda path: (read.append(path), sha256_file(path))[1])
    before = {given("model", str(teacher)).digest for _ in range(3)}
    assert read == [index]
    index.write_text("[]")
    after = given("model", str(teacher)).digest
    assert read == [index] * 2 and after not in before and len(before) == 1


def test_an_input_of_a_stage_is_a_folder_or_an_artifact(tmp_path: Path, teacher: Path) -> None:
    store = open_store(tmp_path / "store")
    made = make(store, "pairs", {})
    assert isinstance(open_input(store, "model", str(teacher)), Folder)
    names = (made.uri, made.base, f"pairs/{made.fingerprint[:6]}", f"{store.url}/{made.base}")
    for name in names:
        found = open_input(store, "artifact", name)
        assert isinstance(found, Artifact) and found.digest == made.digest, name
    assert os.path.isabs(made.uri) and Path(made.uri).is_dir(), "a folder, too, but with a manifest"


def test_a_teacher_may_be_an_artifact_of_any_store(tmp_path: Path, teacher: Path) -> None:
    local, away = open_store(tmp_path / "store"), open_store(f"memory://bucket{tmp_path}")
    for store in (local, away):
        made = commit(store, "reflow-1", {"model": teacher})
        found = given("model", made.uri)
        assert isinstance(found, Artifact) and (found.uri, found.digest) == (made.uri, made.digest)
        assert (folder_of("model", made.uri) / "model_index.json").read_text() == "{}"
        assert open_input(local, "model", found.uri).digest == made.digest, "what a stage on a worker finds"
        with pytest.raises(UserError, match="artifact reflow/ffff: nothing of that name"):
            given("model", f"{away.url}/reflow/ffff")


def test_a_teacher_and_an_input_may_be_given_by_name(tmp_path: Path, teacher: Path) -> None:
    for store in (open_store(tmp_path / "store"), open_store(f"memory://bucket{tmp_path}")):
        made = commit(store, "distill", {"model/model_index.json": teacher / "model_index.json"})
        give_name(made, "sd15-v3")
        named = given("model", f"{store.url}/names/sd15-v3")
        assert (named.uri, named.digest) == (made.uri, made.digest), "it is recorded as what it stood for"
        assert open_input(store, "model", "sd15-v3").uri == made.uri


def test_a_relative_path_is_an_artifacts_name(tmp_path: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's folder is not the user's."""
    monkeypatch.chdir(teacher.parent)
    with pytest.raises(UserError, match="artifact teacher: nothing of that name"):
        open_input(open_store(tmp_path / "store"), "model", "teacher")
