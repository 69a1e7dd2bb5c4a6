"""What is damaged is named, and its unit alone is redone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from infra.artifact import Artifact, Draft
from infra.artifact.redo import redo_all, redo_units, standing, why_redo
from infra.environment import utc_now
from infra.store import Store, StoreError
from infra.upkeep.verify import VERIFIED, Damage, Verified, damages, mark
from tests.faults import Fault, FaultyProxy
from tests.infra.chain import make
from tests.infra.reaching import gone_for_good, new_store

STORES = ("local", "memory", "rclone")  # moto takes seconds for what rclone does in a tenth


def test_what_is_whole_verifies(store: Store, tmp_path: Path) -> None:
    made, told = make(store, "pairs", {}), []
    assert [*damages(made, told.append)] == []
    assert sum(told) == sum(file.bytes for file in made.manifest.files)


def test_what_is_found_whole_is_recorded_and_what_is_made_since_is_not_meant(store: Store) -> None:
    made = make(store, "pairs", {})
    path = f"{made.base}/{VERIFIED}"
    assert mark(made, [*damages(made)], {}) == []
    record = Verified.model_validate_json(store.read(path))
    assert record.is_of(made) and record.at >= made.manifest.finished_at
    later = made.manifest.model_copy(update={"finished_at": "2030-01-01T00:00:00+00:00"})
    assert not record.is_of(Artifact(store, made.base, later)), "the same content, written again"
    store.delete(path)
    assert mark(made, [Damage(made.files()[0].path, "is missing")], {}) and not store.exists(path)


def test_every_bad_file_is_named_and_its_unit_alone_is_redone(store: Store, tmp_path: Path) -> None:
    made = make(store, "pairs", {})
    first, second = made.files()
    data = bytearray(store.read(f"{made.base}/{first.path}"))
    data[7] ^= 1
    store.write(f"{made.base}/{first.path}", bytes(data))
    found = [*damages(made)]
    assert [damage.path for damage in found] == [first.path] and f"instead of {first.sha256}" in found[0].problem
    assert why_redo(made) is None, "its size tells nothing"
    assert mark(made, found, {}) == ["shard-000000"]
    assert why_redo(made) == f"{first.path} is damaged"
    before = store.modified(made.base)
    again = make(store, "pairs", {})
    assert again.digest == made.digest and [*damages(again)] == [] and why_redo(again) is None
    assert store.modified(made.base)[f"{made.base}/{second.path}"] == before[f"{made.base}/{second.path}"]

    store.delete(f"{made.base}/{second.path}")
    store.write(f"{made.base}/{first.path}", b"torn")
    assert [damage.problem for damage in damages(made)] == [f"has 4 bytes instead of {first.bytes}", "is missing"]
    assert mark(made, [*damages(made)], {}) == ["shard-000000", "shard-000001"]
    assert make(store, "pairs", {}).digest == made.digest


def test_a_remote_artifact_is_one_listing_and_a_request_for_each_file(proxy: FaultyProxy) -> None:
    made = make(new_store(), "pairs", {})
    proxy.asked.clear()
    assert [*damages(made)] == []
    asked = Counter(line.split()[0] + ("?" if "list-type" in line else "") for line in proxy.asked)
    assert asked == {"GET?": 1, "GET": len(made.manifest.files)}


def test_an_outage_is_no_damage(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    gone_for_good(monkeypatch)
    made = make(new_store(), "pairs", {})
    proxy.strike_where(made.manifest.files[-1].path, Fault.SLOW_DOWN)
    with pytest.raises(StoreError, match=r"cannot read .*tried \d+ times"):
        list(damages(made))


def test_what_is_mended_by_hand_is_sound_again(store: Store) -> None:
    made = make(store, "pairs", {})
    path = f"{made.base}/{made.files()[0].path}"
    data = store.read(path)
    store.write(path, b"x" * len(data))
    mark(made, [*damages(made)], {})
    store.write(path, data)
    before = standing(store, made.base)
    assert len(before) == 1 and mark(made, [*damages(made)], before) == [] and why_redo(made) is None
    redo_all(store, made.base)
    mark(made, [], standing(store, made.base))
    assert why_redo(made), "what is to be redone on demand stays so"


def test_what_was_found_while_another_was_reading_stays_marked(store: Store) -> None:
    made = make(store, "pairs", {})
    before = standing(store, made.base)
    redo_units(store, made.base, ["shard-000001"], "found by another")
    assert mark(made, [], before) == [] and why_redo(made) == "found by another"


def test_a_unit_that_is_marked_while_another_is_repaired_is_repaired_next(store: Store) -> None:
    made = make(store, "pairs", {})
    first, second = made.files()
    whole = store.read(f"{made.base}/{first.path}")
    store.write(f"{made.base}/{first.path}", b"x" * first.bytes)
    mark(made, [*damages(made)], {})
    with Draft(store, made.stage, made.fingerprint) as repair:
        assert [*repair.units()] == ["shard-000001"]
        (repair.workdir / "shard").write_bytes(whole)
        repair.commit_unit("shard-000000", {"shard-000000.tar": repair.workdir / "shard"}, rows=2)
        store.write(f"{made.base}/{second.path}", b"x" * second.bytes)
        assert mark(made, [*damages(made)], {}) == ["shard-000001"]
        repair.finish([*repair.units()], 1, {}, {}, {}, {}, utc_now())
    assert why_redo(made) == f"{second.path} is damaged"
    again = make(store, "pairs", {})
    assert again.digest == made.digest and [*damages(again)] == [] and why_redo(again) is None
