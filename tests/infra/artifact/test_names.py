"""A name stands for what was named, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.artifact import MANIFEST, Artifact, ArtifactMissing
from infra.artifact.names import is_name, name_path, read_name
from infra.artifact.redo import redo_all
from infra.errors import UserError
from infra.store import Store, StoreError, open_store
from infra.upkeep.naming import give_name
from tests.infra.chain import make
from tests.infra.stores import DownStore


def test_the_digits_of_a_fingerprint_are_no_name() -> None:
    assert all(map(is_name, ("sd15-v3", "v3", "beef.1", "Ada", "0.9b")))
    assert not any(map(is_name, ("", "beef", "0123", "a/b", "../x", "-x", "two words", "distill/0123456789abcdef")))


def test_a_name_is_an_address_in_its_store_and_from_elsewhere(store: Store, tmp_path: Path) -> None:
    made = make(store, "distill", {})
    give_name(made, "sd15-v3")
    elsewhere = open_store(tmp_path / "elsewhere")
    for where, ref in ((store, "sd15-v3"), (store, "names/sd15-v3"), (elsewhere, f"{store.url}/names/sd15-v3")):
        assert Artifact.find(where, ref).uri == made.uri
    for where, ref in ((elsewhere, "sd15-v3"), (store, "sd15-v4")):
        with pytest.raises(ArtifactMissing, match=rf"artifact {ref}: nothing of that name in .* or a name"):
            Artifact.find(where, ref)


def test_what_has_become_another_is_not_what_was_named(store: Store) -> None:
    made = make(store, "distill", {})
    give_name(made, "sd15-v3")
    redo_all(store, made.base)
    other = make(store, "distill", {}, text="trained again")
    assert other.base == made.base and other.digest != made.digest
    with pytest.raises(UserError, match=rf"^name sd15-v3: {made.base} has been made again with another outcome"):
        Artifact.find(store, "sd15-v3")
    give_name(other, "sd15-v3", move=True)
    assert Artifact.find(store, "sd15-v3").digest == other.digest
    store.delete(f"{other.base}/{MANIFEST}")
    with pytest.raises(ArtifactMissing):
        Artifact.find(store, "sd15-v3")


def test_a_damaged_name_is_said_and_an_outage_is_no_absence(store: Store, tmp_path: Path) -> None:
    store.write(name_path("x"), b"{")
    with pytest.raises(UserError, match=r"names/x\.json: does not parse, so what x stands for is unknown"):
        Artifact.find(store, "x")
    with pytest.raises(StoreError):
        read_name(DownStore(tmp_path), "x")
