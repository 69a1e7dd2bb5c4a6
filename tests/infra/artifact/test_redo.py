"""What is damaged or asked for again is redone, no more than that, and the old artifact lives until then."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.artifact import MANIFEST, Artifact, Draft
from infra.artifact.redo import FORCED, REDO, lift, mark_damage, marks_among, redo_all, redo_units, standing, why_redo
from infra.store import Store, open_store
from tests.infra.small_artifact import PRINT, UNITS, make
from tests.infra.stores import DownStore

STORES = ("local", "memory", "rclone")  # moto takes seconds for what rclone does in a tenth


def test_a_committed_artifact_is_sound(store: Store) -> None:
    assert why_redo(make(store)) is None


def test_a_missing_or_short_file_is_noticed_and_its_unit_alone_redone(store: Store) -> None:
    made = make(store)
    first, second = made.files("shard-*.tar")
    store.write(f"{made.base}/{second.path}", b"torn")
    assert why_redo(made) == f"{second.path} has 4 bytes instead of {second.bytes}"
    store.delete(f"{made.base}/{first.path}")
    assert why_redo(made) == f"{first.path} is missing"
    assert [*Draft(store, "pairs", PRINT).units()] == ["model"]
    again = make(store)
    assert again.digest == made.digest and why_redo(again) is None


def test_an_artifact_whose_manifest_was_deleted_since_is_not_taken_and_its_units_stay(store: Store) -> None:
    made = make(store)
    store.delete(f"{made.base}/{MANIFEST}")
    assert why_redo(made) == f"{MANIFEST} is missing"
    mark_damage(made)
    assert standing(store, made.base) == {} and len(Draft(store, "pairs", PRINT).units()) == 3
    assert make(store).digest == made.digest


def test_a_unit_is_redone_on_demand(store: Store) -> None:
    made = make(store)
    redo_units(store, made.base, ["shard-000001"], "data/x is damaged")
    assert why_redo(made) == "data/x is damaged"
    assert [*Draft(store, "pairs", PRINT).units()] == ["model", "shard-000000"]
    assert Artifact.open(store, "pairs", PRINT).manifest == made.manifest, "the old manifest stays"
    again = make(store)
    assert again.digest == made.digest and why_redo(again) is None
    assert not [path for path in store.list(f"{made.base}/{REDO}") if "/units/" not in path], "the mark is answered"


def test_everything_is_redone_and_a_second_demand_goes_on(store: Store) -> None:
    made = make(store)
    store.write(f"{made.base}/checkpoints/train/step-00000001.json", b"{}")
    redo_all(store, made.base)
    assert why_redo(made) == FORCED
    draft = Draft(store, "pairs", PRINT)
    assert draft.units() == {} and store.list(f"{draft.place}/checkpoints") == []
    shard = draft.workdir / "shard"
    shard.write_bytes(b"a unit of the new attempt")
    draft.commit_unit("shard-000000", {"shard-000000.tar": shard})
    redo_all(store, made.base)
    redo_units(store, made.base, [], "damaged too")
    assert [*draft.units()] == ["shard-000000"], "what is being redone is not started again"
    assert why_redo(made) == f"{FORCED}; damaged too"
    assert made.fetch("shard-000000.tar").read_bytes() == b"shard-000000" * 1000, "readers keep what they have"
    for unit in UNITS:
        redo_units(store, made.base, [unit], "")
    assert make(store).digest == made.digest


def test_only_marks_of_parts_are_lifted(store: Store) -> None:
    made = make(store)
    redo_units(store, made.base, ["model"], "damaged")
    redo_all(store, made.base)
    lift(store, made.base, standing(store, made.base))
    assert [mark.reason for mark in standing(store, made.base).values()] == [FORCED]


def test_a_mark_that_does_not_parse_counts(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    made = make(store)
    store.write(f"{made.base}/{REDO}/20260101T000000000000-abcdef.json", b"{")
    assert "does not parse" in (why_redo(made) or "") and "does not parse" in caplog.text


def test_an_outage_is_no_damage(tmp_path: Path) -> None:
    made = make(open_store(tmp_path))
    made.store = DownStore(tmp_path)
    with pytest.raises(Exception, match="down"):
        why_redo(made)


def test_marks_are_found_in_a_listing_of_the_whole_store(store: Store) -> None:
    made = make(store)
    redo_units(store, made.base, ["shard-000001"], "data/x is damaged")
    found = marks_among(store, store.sizes(), {made.base: made.manifest.redone})
    assert found == {made.base: [*standing(store, made.base).values()]} and len(found[made.base]) == 1
    again = make(store)
    assert marks_among(store, store.sizes(), {made.base: again.manifest.redone}) == {}
