"""A finished artifact is what was committed, found by its name; every byte is checked before it is given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.artifact import Artifact, ArtifactMissing
from infra.artifact.fingerprint import sha256_bytes
from infra.errors import UserError
from infra.store import Store, open_store
from tests import ROOT
from tests.infra.small_artifact import PRINT, make


def test_an_artifact_is_what_was_committed(store: Store) -> None:
    made = make(store)
    found = Artifact.open(store, "pairs", PRINT)
    assert found.manifest == made.manifest and found.digest == made.digest
    assert found.manifest.rows == 8 and found.manifest.fingerprint == PRINT
    assert [file.name for file in found.files("shard-*.tar")] == ["shard-000000.tar", "shard-000001.tar"]
    record = found.files("shard-000000.tar")[0]
    content = b"shard-000000" * 1000
    assert record.path == f"data/shard-000000-{sha256_bytes(content)[:12]}.tar"
    assert (record.sha256, record.bytes, record.rows) == (sha256_bytes(content), 12_000, 4)
    for name in (record, "shard-000000.tar", record.path):
        assert found.fetch(name).read_bytes() == content
    folder = found.folder("model")
    assert (folder / "unet" / "config.json").read_text() == '{"a": 1}' and (folder / "model_index.json").exists()
    assert found.folder() / folder.relative_to(found.folder()) == folder
    with pytest.raises(UserError, match=r"holds no file absent; it has model, shard-000000-timing\.json, shard-"):
        found.fetch("absent")
    with pytest.raises(UserError, match="holds no folder absent; it has model, "):
        found.folder("absent")


def test_the_manifest_of_something_else_is_refused(tmp_path: Path) -> None:
    store, made = open_store(tmp_path), make(open_store(tmp_path))
    data, other = made.manifest.to_bytes(), PRINT[:16] + "0" * 48
    store.write(f"reflow/{PRINT[:16]}/manifest.json", data)
    store.write("pairs/0123456789abcdef/manifest.json", data)
    for stage, fingerprint, told in (
        ("reflow", PRINT, "stage: found pairs, expected reflow: "),
        ("pairs", "0123456789abcdef", f"fingerprint: found {PRINT}, expected 0123456789abcdef: "),
        ("pairs", other, f"fingerprint: found {PRINT}, expected {other}: "),
    ):
        with pytest.raises(UserError) as caught:
            Artifact.open(store, stage, fingerprint)
        assert f"/manifest.json: {told}this is the manifest of something else." in str(caught.value)
        assert not isinstance(caught.value, ArtifactMissing), "it would be made again over what is there"
    with pytest.raises(UserError, match="something else"):
        Artifact.find(store, "pairs/0123")


HOSTILE = """
import sys
from pathlib import Path
from infra.artifact import Artifact
from infra.artifact.cache import fetch
from infra.errors import UserError
from infra.store import open_store
from tests.infra.small_artifact import PRINT, make
try:
    assert False
except AssertionError:
    sys.exit("asserts are on: this is to be run with -O")
for store in (open_store("memory://bucket/a/b"), open_store(Path("store"))):
    made = make(store)
    record, outside = made.files("shard-000000.tar")[0], "../../../../../../outside/file"
    for path in (outside, str(Path("outside/file").absolute()), "data/../" + outside):
        evil = record.model_copy(update={"path": path})
        for get in (made.fetch, lambda file: fetch(store, made.base, file)):
            try:
                get(evil)
            except UserError as error:
                print(error)
        store.write(f"{made.base}/manifest.json", made.manifest.model_copy(update={"files": [evil]}).to_bytes())
        try:
            Artifact.open(store, "pairs", PRINT)
        except UserError as error:
            print(error)
"""


def test_a_hostile_path_touches_nothing_even_without_asserts(tmp_path: Path) -> None:
    inside = tmp_path / "1" / "2" / "3" / "4" / "5" / "6"
    inside.mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "INSTAFLOW_CACHE": str(inside / "cache")}
    run = subprocess.run(
        [sys.executable, "-O", "-c", HOSTILE], cwd=inside, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    told = run.stdout.splitlines()
    assert len(told) == 2 * 3 * 3 and all("leads out" in line or "files.0.path" in line for line in told), told
    assert {path.name for path in inside.iterdir()} <= {"cache", "store"} and not [*tmp_path.rglob("outside")]


@pytest.mark.parametrize("position", [0, 6_000, 11_999])
def test_a_flipped_bit_is_found(store: Store, position: int) -> None:
    made = make(store)
    record = made.files("shard-000000.tar")[0]
    path = f"{made.base}/{record.path}"
    data = bytearray(store.read(path))
    data[position] ^= 1
    store.write(path, bytes(data))
    with pytest.raises(UserError) as caught:
        made.fetch(record)
    text = str(caught.value)
    assert record.path in text and record.sha256 in text and sha256_bytes(bytes(data)) in text
    assert "run the stage again" in text
    store.delete(path)
    assert make(store).digest == made.digest
    assert made.fetch(record).read_bytes() == b"shard-000000" * 1000


def test_a_file_gone_is_named(store: Store) -> None:
    made = make(store)
    record = made.files("shard-000000.tar")[0]
    store.delete(f"{made.base}/{record.path}")
    with pytest.raises(UserError, match=r"shard-000000-\w+\.tar: the file is missing\. Run the stage again"):
        made.fetch(record)


def test_find(store: Store) -> None:
    made = make(store)
    assert Artifact.find(store, f"pairs/{PRINT[:4]}").digest == made.digest
    assert Artifact.find(store, f"pairs/{PRINT[:16]}/").digest == made.digest
    assert Artifact.find(open_store("memory://elsewhere"), made.uri).digest == made.digest
    for ref in ("pairs/zz", "reflow/00", "pairs", "", "../abc", "../../abc", "pairs/..", "pairs/../abc", "./abc"):
        with pytest.raises(ArtifactMissing, match="expected stage/fingerprint"):
            Artifact.find(store, ref)
    store.write(f"pairs/{PRINT[:8]}ffffffff/units/a.json", b"")
    with pytest.raises(UserError, match="several answer to it"):
        Artifact.find(store, f"pairs/{PRINT[:4]}")
