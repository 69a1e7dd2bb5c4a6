"""A copy has all that it was made from, and is whole or not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.artifact import Artifact, ArtifactMissing
from infra.artifact.redo import FORCED, redo_all, why_redo
from infra.errors import UserError
from infra.store import Store, open_store
from infra.store.local import LocalStore
from infra.upkeep.inventory import find
from infra.upkeep.transfer import copy, with_inputs
from infra.upkeep.verify import damages, mark
from tests.faults import Fault, FaultyProxy
from tests.infra.chain import make, make_chain
from tests.infra.counted import held
from tests.infra.reaching import new_store
from tests.infra.stores import FailingStore, Killed

STORES = ("local", "memory", "rclone")  # moto takes seconds for what rclone does in a tenth


def test_a_copy_has_all_that_it_was_made_from(store: Store, tmp_path: Path) -> None:
    made = make_chain(store, tmp_path / "teacher")
    target = open_store(tmp_path / "target")
    chain = with_inputs(made["distill"])
    assert [one.stage for one in chain] == ["prompts", "pairs", "distill"]
    assert [copy(one, target) for one in chain] == [True] * 3
    assert [copy(one, target) for one in chain] == [False] * 3
    assert held() == {}, "what is only passed on has no business in the cache"
    there = find(target, made["distill"].base)
    assert there.digest == made["distill"].digest and [*damages(there)] == []
    assert [one.stage for one in with_inputs(there)] == ["prompts", "pairs", "distill"]
    target.delete(f"{there.base}/{there.files()[0].path}")
    assert copy(made["distill"], target), "a copy mends a copy"
    assert [*damages(there)] == []
    assert make(target, "prompts", {}, {"seed": 0}).digest == made["prompts"].digest


def test_an_artifact_of_an_older_version_takes_its_unit_records_along(store: Store, tmp_path: Path) -> None:
    made, target = make(store, "pairs", {}), open_store(tmp_path / "target")
    store.write(f"{made.base}/manifest.json", made.manifest.model_copy(update={"units": []}).to_bytes())
    assert copy(find(store, made.base), target)
    assert find(target, made.base).units() == made.units() and target.list(f"{made.base}/units")


def test_a_copy_that_is_killed_goes_on(tmp_path: Path) -> None:
    made = make(open_store(tmp_path / "store"), "pairs", {})
    for fatal in range(1, 4):  # two files and the manifest
        root = tmp_path / f"target-{fatal}"
        with pytest.raises(Killed):
            copy(made, FailingStore(root, fatal))
        with pytest.raises(ArtifactMissing):
            Artifact.open(open_store(root), "pairs", made.fingerprint)
        assert copy(made, open_store(root)) and [*damages(find(open_store(root), made.base))] == []


def test_a_copy_that_is_known_to_be_damaged_is_mended(store: Store, tmp_path: Path) -> None:
    """Of the same size, as a flipped bit leaves it; what is asked for with --force is still redone."""
    made, target = make(open_store(tmp_path / "source"), "pairs", {}), store
    assert copy(made, target)
    there, (first, second) = find(target, made.base), made.files()
    target.write(f"{there.base}/{first.path}", b"x" * first.bytes)
    assert not copy(made, target), "nobody knows yet"
    before = target.modified(there.base)
    mark(there, [*damages(there)], {})
    assert copy(made, target) and [*damages(there)] == [] and why_redo(there) is None
    assert target.modified(there.base)[f"{there.base}/{second.path}"] == before[f"{there.base}/{second.path}"]
    redo_all(target, there.base)
    assert copy(made, target) and why_redo(there) == FORCED


def test_what_goes_while_it_is_copied_is_an_error(tmp_path: Path) -> None:
    class Going(LocalStore):
        def chunks(self, path: str) -> Iterator[bytes]:
            self.delete(path)
            return super().chunks(path)

    made = make(Going(tmp_path / "store"), "pairs", {})
    with pytest.raises(UserError, match="the file is damaged"):
        copy(made, open_store(tmp_path / "target"))
    assert open_store(tmp_path / "target").list() == []


def test_what_is_damaged_is_not_copied(store: Store, tmp_path: Path) -> None:
    made, target = make(store, "pairs", {}), open_store(tmp_path / "target")
    file = made.files()[0]
    store.write(f"{made.base}/{file.path}", b"x" * file.bytes)
    with pytest.raises(UserError, match="damaged"):
        copy(made, target)
    store.write(f"{made.base}/{file.path}", b"x")
    with pytest.raises(UserError, match="is to be redone first"):
        copy(made, target)
    assert not target.exists(f"{made.base}/manifest.json")


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.RESET, Fault.LOST, Fault.CUT])
def test_any_request_of_a_copy_may_fail(
    fault: Fault, proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    made, told = make(open_store(tmp_path / "store"), "pairs", {}), []
    away, back = new_store(), open_store(tmp_path / "back")
    proxy.strike_first(fault)
    assert copy(made, away, told.append) and copy(find(away, made.base), back)
    assert proxy.struck[fault] >= 2 * (len(made.manifest.files) + 1), "every file and the manifest, there and back"
    assert sum(told) == sum(file.bytes for file in made.manifest.files)
    assert [*damages(find(back, made.base))] == []
    assert back.list(made.base) == [path for path in made.store.list(made.base) if "/units/" not in path]


def test_another_outcome_is_not_replaced(store: Store, tmp_path: Path) -> None:
    target = open_store(tmp_path / "target")
    make(target, "pairs", {}, text="made on another machine")
    with pytest.raises(UserError, match="the same stage with another outcome"):
        copy(make(store, "pairs", {}), target)
