"""What is in a store, by short names; what is damaged is named and redone; a copy is whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.artifact import ArtifactMissing
from infra.errors import UserError
from infra.store import Store
from infra.upkeep.inventory import base_in, entries, find, inputs_of, pin, pinned, unpin, wanted_by
from tests.infra.chain import make_chain

STORES = ("local", "memory", "rclone")  # moto takes seconds for what rclone does in a tenth


def test_everything_is_listed_and_nothing_else(store: Store, tmp_path: Path) -> None:
    made = make_chain(store, tmp_path / "teacher")
    store.write("pairs/0123456789abcdef/units/x.json", b"{}")
    store.write("pairs/fedcba9876543210/manifest.json", b"{")
    store.write("notes/mine/readme.txt", b"not ours")
    found = {entry.base: entry for entry in entries(store)}
    unfinished, broken = found.pop("pairs/0123456789abcdef"), found.pop("pairs/fedcba9876543210")
    assert {*found} == {artifact.base for artifact in made.values()}
    assert unfinished.artifact is None and unfinished.problem is None
    assert broken.artifact is None and "manifest.json" in (broken.problem or "")


def test_a_short_name_finds_its_artifact(store: Store, tmp_path: Path) -> None:
    made = make_chain(store, tmp_path / "teacher")["pairs-1"]
    for ref in (made.base, made.base[:12], made.fingerprint[:16], made.fingerprint[:6], made.uri):
        assert find(store, ref).digest == made.digest
    with pytest.raises(ArtifactMissing, match="artifact zz: nothing of that name"):
        find(store, "zz")
    with pytest.raises(ArtifactMissing):
        find(store, "")
    store.write(f"reflow/{made.fingerprint[:12]}ffff/manifest.json", b"{}")
    with pytest.raises(UserError, match="several answer to it"):
        find(store, made.fingerprint[:6])


def test_a_pin_that_names_no_artifact_is_told(store: Store) -> None:
    for artifact in ("../../etc", "pairs/../../x", "pairs/0"):
        pinned_thing = {"artifact": artifact, "since": "2026-01-01"}
        store.write("pins/pairs/0123456789abcdef.json", json.dumps(pinned_thing).encode())
        with pytest.raises(UserError, match=r"pins/pairs/0123456789abcdef\.json: does not parse"):
            pinned(store)


@pytest.mark.parametrize("uri", ["a/../0123456789abcdef", "0123456789abcdef", "a/b/", "/tmp/te acher/0123456789abcdef"])
def test_an_address_that_is_no_artifact_s_is_a_folder(uri: str) -> None:
    assert base_in(uri) is None


def test_inputs_are_found_again(store: Store, tmp_path: Path) -> None:
    made = make_chain(store, tmp_path / "teacher")
    sources = {record.role: source for record, source in inputs_of(made["pairs-1"])}
    assert sources["teacher"] is None, "a plain folder"
    assert sources["prompts"] is not None and sources["prompts"].digest == made["prompts"].digest


def test_pins_and_references_say_who_wants_it(store: Store, tmp_path: Path) -> None:
    made = make_chain(store, tmp_path / "teacher", "mini")
    make_chain(store, tmp_path / "teacher", "other")
    assert wanted_by(store)[made["distill"].base] == ["mini", "other"]
    pin(store, made["prompts"], "for the paper")
    assert pinned(store)[made["prompts"].base].note == "for the paper"
    assert unpin(store, made["prompts"]) and not unpin(store, made["prompts"]) and pinned(store) == {}
    store.write("refs/mini/distill.json", b"{")
    with pytest.raises(UserError, match=r"refs/mini/distill\.json: does not parse, so what it keeps is unknown"):
        wanted_by(store)
