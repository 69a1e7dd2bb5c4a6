"""`instaflow models`: a name is given, moved, listed, used and taken away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from infra.artifact import Artifact
from infra.errors import UserError
from infra.store import Store, open_store
from infra.upkeep.adding import add
from tests.infra.chain import make


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


def _run(store: Store, *arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--store", store.url])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_name_is_given_moved_listed_and_taken_away(store: Store) -> None:
    assert _run(store, "models", "ls") == f"no names in {store.url} yet\n"
    first, second = make(store, "distill", {}), make(store, "distill", {}, {"steps": 2})
    assert _run(store, "models", "name", first.base, "sd15-v3") == f"sd15-v3 is {first.base}\n"
    with pytest.raises(UserError, match="say --move"):
        _run(store, "models", "name", second.base, "sd15-v3")
    _run(store, "models", "name", second.base, "sd15-v3", "--move", "--note", "longer")
    _run(store, "models", "name", "sd15-v3", "best")
    lines = [line.split()[:2] for line in _run(store, "models", "ls").splitlines()[1:]]
    assert lines == [["best", second.base], ["sd15-v3", second.base], ["before", first.base]]
    told = json.loads(_run(store, "models", "ls", "--json"))
    assert [one["note"] for one in told["sd15-v3"]] == ["", "longer"]
    listed = {line["artifact"]: line["names"] for line in json.loads(_run(store, "artifacts", "ls", "--json"))}
    assert listed == {first.base: [], second.base: ["best", "sd15-v3"]}
    assert _run(store, "models", "unname", "best") == "best is no name any more\n"
    assert _run(store, "models", "unname", "best") == "best was no name\n"


@pytest.mark.parametrize("name", ["student", "2-rf", "mini"])
def test_what_means_something_else_already_is_no_name(store: Store, name: str) -> None:
    made = make(store, "distill", {})
    with pytest.raises(UserError, match=rf"^name {name}: .*\. Choose another, e\.g\. {name}-v1\.$"):
        _run(store, "models", "name", made.base, name)


def test_a_name_is_taken_wherever_an_id_is(store: Store, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text("{}")
    made, _ = add(store, tmp_path / "model", "model")
    _run(store, "models", "name", made.base, "sd15-v3")
    assert json.loads(_run(store, "artifacts", "show", "sd15-v3", "--json"))["fingerprint"] == made.fingerprint
    assert made.base in _run(store, "artifacts", "lineage", "sd15-v3")
    assert _run(store, "artifacts", "unpin", "sd15-v3") == f"{made.base} is not pinned any more\n"
    _run(store, "export", "sd15-v3", str(tmp_path / "out"))
    assert (tmp_path / "out" / "model_index.json").is_file()
    target = open_store(tmp_path / "other")
    _run(store, "artifacts", "cp", "sd15-v3", target.url)
    assert Artifact.find(target, made.base).digest == made.digest
