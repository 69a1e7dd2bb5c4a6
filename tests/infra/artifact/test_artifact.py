"""A finished artifact is what was committed, found by its name; every byte is checked before it is given."""

from __future__ import annotations

import pytest

from infra.artifact import Artifact, ArtifactMissing
from infra.artifact.fingerprint import sha256_bytes
from infra.errors import UserError
from infra.store import Store, open_store
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
    with pytest.raises(KeyError, match="no file 'absent'"):
        found.fetch("absent")
    with pytest.raises(KeyError, match="no folder 'absent'"):
        found.folder("absent")


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
    for ref in ("pairs/zz", "reflow/00", "pairs", ""):
        with pytest.raises(ArtifactMissing, match="expected stage/fingerprint"):
            Artifact.find(store, ref)
    store.write(f"pairs/{PRINT[:8]}ffffffff/units/a.json", b"")
    with pytest.raises(UserError, match="several answer to it"):
        Artifact.find(store, f"pairs/{PRINT[:4]}")
