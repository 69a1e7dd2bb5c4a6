"""Which making of an artifact a run belongs to, and what stays as it was."""

from __future__ import annotations

import pytest

from infra.artifact import MANIFEST, Draft
from infra.artifact.generation import Generation
from infra.artifact.redo import redo_all, redo_units, standing
from infra.store import Store
from tests.infra.small_artifact import PRINT, UNITS, make

STORES = ("local", "rclone")


def of(store: Store) -> Generation:
    return Generation.of(store, "pairs", PRINT)


def test_the_first_making_answers_nothing_and_keeps_nothing(store: Store) -> None:
    assert of(store) == Generation({}, {}) and of(store).name == ""
    made = make(store)
    assert of(store) == Generation({}, {}) and of(store).folder(made.base) == made.base


def test_a_part_is_made_again_and_the_rest_stays(store: Store) -> None:
    made = make(store)
    redo_units(store, made.base, ["model"], "damaged")
    redo_units(store, made.base, ["shard-000001"], "damaged too")
    found = of(store)
    assert {*found.kept} == {"shard-000000"} and [*found.marks] == sorted(standing(store, made.base))
    assert found.folder(made.base) == f"{made.base}/redo/{max(found.marks)}"
    redo_all(store, made.base)
    assert of(store).kept == {} and of(store).name > found.name


def test_what_was_repaired_is_repaired_again(store: Store) -> None:
    """The units that stay come from the manifest, whichever generation made them."""
    made = make(store)
    for unit in UNITS:
        redo_units(store, made.base, [unit], "damaged")
        assert {*of(store).kept} == {*UNITS} - {unit}
        again = make(store)
        assert again.digest == made.digest and standing(store, made.base) == {}


def test_what_is_asked_for_before_it_is_finished_keeps_nothing(store: Store) -> None:
    base = Draft(store, "pairs", PRINT).base
    redo_all(store, base)
    assert len(of(store).marks) == 1 and of(store).kept == {}


def test_units_of_a_manifest_of_an_older_version_are_in_their_records(store: Store) -> None:
    made = make(store)
    old = made.manifest.model_copy(update={"units": []})
    store.write(f"{made.base}/{MANIFEST}", old.to_bytes())
    redo_units(store, made.base, ["model"], "damaged")
    assert {*of(store).kept} == {"shard-000000", "shard-000001"}
    again = make(store)
    assert again.digest == made.digest and {part.unit for part in again.manifest.units} == {*UNITS}


def test_a_damaged_manifest_is_named(store: Store) -> None:
    made = make(store)
    redo_all(store, made.base)
    store.write(f"{made.base}/{MANIFEST}", b"{")
    with pytest.raises(Exception, match=rf"{made.base}/{MANIFEST}: the whole file"):
        of(store)
