"""What is in a store, by short names; what is damaged is named and redone; a copy is whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.artifact import Artifact, ArtifactMissing
from infra.errors import UserError
from infra.inventory import entries, find, inputs_of, pin, pinned, unpin, wanted_by
from infra.redo import REDO, redo_all, why_redo
from infra.store import Store
from infra.transfer import copy, with_inputs
from infra.verify import damages, mark
from tests.infra.chain import make, make_chain
from tests.infra.stores import FailingStore, Killed

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


def test_what_is_whole_verifies(store: Store, tmp_path: Path) -> None:
    made, told = make(store, "pairs", {}), []
    assert [*damages(made, told.append)] == []
    assert sum(told) == sum(file.bytes for file in made.manifest.files)


def test_every_bad_file_is_named_and_its_unit_alone_is_redone(store: Store, tmp_path: Path) -> None:
    made = make(store, "pairs", {})
    first, second = made.files()
    data = bytearray(store.read(f"{made.base}/{first.path}"))
    data[7] ^= 1
    store.write(f"{made.base}/{first.path}", bytes(data))
    found = [*damages(made)]
    assert [damage.path for damage in found] == [first.path] and f"instead of {first.sha256}" in found[0].problem
    assert why_redo(made) is None, "its size tells nothing"
    assert mark(made, found) == ["shard-000000"]
    assert why_redo(made) == f"{first.path} is damaged"
    before = store.modified(made.base)
    again = make(store, "pairs", {})
    assert again.digest == made.digest and [*damages(again)] == [] and why_redo(again) is None
    assert store.modified(made.base)[f"{made.base}/{second.path}"] == before[f"{made.base}/{second.path}"]

    store.delete(f"{made.base}/{second.path}")
    store.write(f"{made.base}/{first.path}", b"torn")
    assert [damage.problem for damage in damages(made)] == [f"has 4 bytes instead of {first.bytes}", "is missing"]
    assert mark(made, [*damages(made)]) == ["shard-000000", "shard-000001"]
    assert make(store, "pairs", {}).digest == made.digest


def test_what_is_mended_by_hand_is_sound_again(store: Store) -> None:
    made = make(store, "pairs", {})
    path = f"{made.base}/{made.files()[0].path}"
    data = store.read(path)
    store.write(path, b"x" * len(data))
    mark(made, [*damages(made)])
    store.write(path, data)
    assert mark(made, [*damages(made)]) == [] and why_redo(made) is None
    redo_all(store, made.base)
    mark(made, [])
    assert store.exists(f"{made.base}/{REDO}"), "what is to be redone on demand stays so"


def test_a_copy_has_all_that_it_was_made_from(store: Store, tmp_path: Path) -> None:
    made = make_chain(store, tmp_path / "teacher")
    target = Store.open(tmp_path / "target")
    chain = with_inputs(made["distill"])
    assert [one.stage for one in chain] == ["prompts", "pairs", "distill"]
    assert [copy(one, target) for one in chain] == [True] * 3
    assert [copy(one, target) for one in chain] == [False] * 3
    there = find(target, made["distill"].base)
    assert there.digest == made["distill"].digest and [*damages(there)] == []
    assert [one.stage for one in with_inputs(there)] == ["prompts", "pairs", "distill"]
    target.delete(f"{there.base}/{there.files()[0].path}")
    assert copy(made["distill"], target), "a copy mends a copy"
    assert [*damages(there)] == []
    assert make(target, "prompts", {}, {"seed": 0}).digest == made["prompts"].digest


def test_a_copy_that_is_killed_goes_on(tmp_path: Path) -> None:
    made = make(Store.open(tmp_path / "store"), "pairs", {})
    for fatal in range(1, 6):
        root = tmp_path / f"target-{fatal}"
        with pytest.raises(Killed):
            copy(made, FailingStore(root, fatal))
        with pytest.raises(ArtifactMissing):
            Artifact.open(Store.open(root), "pairs", made.fingerprint)
        assert copy(made, Store.open(root)) and [*damages(find(Store.open(root), made.base))] == []


def test_what_is_damaged_is_not_copied(store: Store, tmp_path: Path) -> None:
    made, target = make(store, "pairs", {}), Store.open(tmp_path / "target")
    file = made.files()[0]
    store.write(f"{made.base}/{file.path}", b"x" * file.bytes)
    with pytest.raises(UserError, match="damaged"):
        copy(made, target)
    store.write(f"{made.base}/{file.path}", b"x")
    with pytest.raises(UserError, match="is to be redone first"):
        copy(made, target)
    assert not target.exists(f"{made.base}/manifest.json")


def test_another_outcome_is_not_replaced(store: Store, tmp_path: Path) -> None:
    target = Store.open(tmp_path / "target")
    make(target, "pairs", {}, text="made on another machine")
    with pytest.raises(UserError, match="the same stage with another outcome"):
        copy(make(store, "pairs", {}), target)
