"""The manifest is a record that anyone can read; its digest is what was made, and nothing about how."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import JsonValue

from infra.artifact import Artifact, ArtifactMissing, Draft
from infra.artifact.manifest import FileRecord, Manifest
from infra.environment import utc_now
from infra.errors import UserError
from infra.store import Store, open_store
from tests.infra.small_artifact import PRINT, make


def test_the_manifest_is_json_anyone_can_read(store: Store) -> None:
    base = make(store).base
    data = json.loads(store.read(f"{base}/manifest.json"))
    assert data["schema_version"] == 1 and {"path", "sha256", "bytes", "rows", "volatile"} == {*data["files"][0]}
    assert data["environment"]["python"] and data["config"] == {"steps": 25}
    assert [file["path"] for file in data["files"]] == sorted(file["path"] for file in data["files"])


def test_the_digest_ignores_timings(tmp_path: Path) -> None:
    one, two = (make(open_store(tmp_path / name), seconds) for name, seconds in (("one", 1.0), ("two", 2.0)))
    assert one.digest == two.digest and one.manifest.seconds < two.manifest.seconds
    assert one.files("*timing*") != two.files("*timing*")


def test_the_digest_sees_the_content(tmp_path: Path) -> None:
    manifest = make(open_store(tmp_path)).manifest
    file = manifest.files[0]
    for change in ({"sha256": "0" * 64}, {"path": "data/x"}, {"bytes": 1}, {"rows": 77}):
        others = [file.model_copy(update=change), *manifest.files[1:]]
        changed = manifest.model_copy(update={"files": others}).digest != manifest.digest
        assert changed != file.volatile
    assert manifest.model_copy(update={"stage": "x"}).digest != manifest.digest
    assert manifest.model_copy(update={"rows": 7}).digest != manifest.digest
    for told in ({"metrics": {}, "environment": {}}, {"config": {}, "version": 9}, {"fingerprint": "0" * 64}):
        assert manifest.model_copy(update=told).digest == manifest.digest, "it is of the content alone"


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"{", "the whole file"), (b'{"schema_version": 2}', "schema_version"), (b"\xff", "the whole file")],
)
def test_a_manifest_that_does_not_parse(store: Store, data: bytes, expected: str) -> None:
    base = make(store).base
    store.write(f"{base}/manifest.json", data)
    with pytest.raises(UserError, match=f"manifest.json: {expected}") as caught:
        Artifact.open(store, "pairs", PRINT)
    assert not isinstance(caught.value, ArtifactMissing)


def test_a_unit_of_an_environment_that_is_not_there_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    path = f"{make(store).base}/manifest.json"
    store.write(path, store.read(path).replace(b'"environment": 0', b'"environment": 1'))
    with pytest.raises(UserError, match="manifest.json: the whole file: .*unit model: there is no environment 1"):
        Artifact.open(store, "pairs", PRINT)


def test_numbers_that_json_lacks_survive(store: Store) -> None:
    draft = Draft(store, "evaluate", PRINT)
    metrics: dict[str, JsonValue] = {"best": float("inf"), "none": None, "by": [float("nan")]}
    made = draft.finish([], 1, {}, {}, metrics, {}, utc_now())
    again = Artifact.open(store, "evaluate", PRINT)
    assert again.digest == made.digest and again.manifest.metrics == {
        "best": "Infinity",
        "none": None,
        "by": ["NaN"],
    }


@pytest.mark.parametrize("name", ["index.parquet", "shard-000000.tar", "README", "a.tar.gz", "model/unet/c-1.json"])
def test_logical_names(name: str) -> None:
    head, _, rest = name.partition("/")
    stem, suffix = (head, "") if rest else (Path(head).stem, Path(head).suffix)
    path = f"data/{stem}-0123456789ab{suffix}" + (f"/{rest}" if rest else "")
    assert FileRecord(path=path, sha256="0" * 64, bytes=0).name == name


@pytest.mark.parametrize(
    "path",
    [
        "../../outside", "data/../../../outside", "data/a/../../b", "/etc/passwd", "data//a", "data/", "data/./a",
        "data/..-0123456789ab/a", "data/a\\b", "data/a\0b", "data/a\nb", "manifest.json", "units/a.json", "",
    ],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused(path: str, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    made = make(store)
    where = f"{made.base}/manifest.json"
    data = json.loads(store.read(where))
    data["files"][1]["path"] = path
    store.write(where, json.dumps(data).encode())
    with pytest.raises(UserError, match=r"manifest\.json: files\.1\.path: String should match"):
        Artifact.open(store, "pairs", PRINT)
    with pytest.raises(UserError, match=r"files\.1\.path"):
        Artifact.find(store, made.base)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stage", "../pairs"), ("stage", ""), ("fingerprint", "../../x"), ("fingerprint", "0" * 63),
        ("files.0.sha256", "/" * 64), ("files.0.sha256", "A" * 64), ("inputs.0.role", "../teacher"),
        ("inputs.0.digest", "d"),
    ],
)  # fmt: skip
def test_names_and_hashes_look_like_such(field: str, value: str, tmp_path: Path) -> None:
    data = json.loads(make(open_store(tmp_path)).manifest.to_bytes())
    data["inputs"] = [{"role": "teacher", "uri": "anywhere", "digest": "0" * 64}]
    Manifest.from_bytes(json.dumps(data).encode(), "x")
    *way, last = field.split(".")
    at = data
    for part in way:
        at = at[int(part) if part.isdigit() else part]
    at[last] = value
    with pytest.raises(UserError) as caught:
        Manifest.from_bytes(json.dumps(data).encode(), "x")
    assert str(caught.value).startswith(f"x: {field}: String should match") and repr(value) in str(caught.value)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    manifest = make(open_store(tmp_path)).manifest
    file = manifest.files[0]
    for path in (file.path, re.sub(r"-[0-9a-f]{12}", "-000000000000", file.path)):
        double = [*manifest.files, file.model_copy(update={"path": path, "sha256": "0" * 64})]
        with pytest.raises(UserError, match=rf"x: files: .*two files are named {file.name}"):
            Manifest.from_bytes(manifest.model_copy(update={"files": double}).to_bytes(), "x")


def test_the_manifest_survives_a_round_trip(tmp_path: Path) -> None:
    manifest = make(open_store(tmp_path)).manifest
    assert Manifest.from_bytes(manifest.to_bytes(), "x") == manifest
