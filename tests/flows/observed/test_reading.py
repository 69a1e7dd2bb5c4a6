"""A store is read once, and what is damaged in it is named."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from flows.observed.reading import read
from infra.artifact import MANIFEST
from infra.store import open_store
from infra.store.local import LocalStore
from infra.upkeep.inventory import wanted_by
from infra.upkeep.runs import list_runs
from infra.upkeep.verify import damages
from tests.flows.observed.small_store import CALLED, DAMAGED, NOW, UNFINISHED, Small, record
from tests.infra.chain import make, make_chain


def test_all_that_is_there_is_seen(small: Small) -> None:
    seen = small.known.seen
    assert {*seen.artifacts} == {one.base for one in small.made.values()}
    assert [*seen.broken] == [DAMAGED] and [*seen.unfinished] == [UNFINISHED]
    assert [run.run_id for run in seen.runs] == [run.run_id for run in reversed(list_runs(small.store))]
    assert [*seen.pins] == [small.made["distill"].base] and [*seen.marks] == [small.made["pairs-1"].base]
    damaged = {one.path for one in seen.damaged}
    records = {"runs/2026-11-22T050000-torn.json", "refs/mini/torn.json", "names/torn.json"}
    assert damaged == {f"{DAMAGED}/{MANIFEST}", *records}


def test_a_name_is_that_of_what_it_stands_for_now(small: Small) -> None:
    student = small.made["distill again"]
    named = small.known.seen.named
    assert [*named[student.base]] == [CALLED] and named[student.base][CALLED].digest == student.digest
    assert small.made["distill"].base not in named


def test_what_is_wanted_is_what_the_inventory_says(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    make_chain(store, tmp_path / "teacher")
    make_chain(store, tmp_path / "teacher", "other")
    assert read(store, NOW).wanted == wanted_by(store)


class Counting(LocalStore):
    """A store that counts what is asked of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.listings, self.readings = 0, Counter[str]()

    def read(self, path: str) -> bytes:
        self.readings[path] += 1
        return super().read(path)

    def sizes(self, prefix: str = "") -> dict[str, int]:
        self.listings += 1
        return super().sizes(prefix)


def test_each_file_is_read_once(tmp_path: Path) -> None:
    make_chain(open_store(tmp_path / "store"), tmp_path / "teacher")
    store = Counting(tmp_path / "store")
    read(store, NOW)
    assert store.listings == 1 and {*store.readings.values()} == {1} and len(store.readings) == 3 + 3, store.readings


def test_a_file_that_is_gone_or_cut_is_lacking(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    artifact = make(store, "pairs", {})
    first, second = artifact.manifest.files
    store.delete(f"{artifact.base}/{first.path}")
    store.write(f"{artifact.base}/{second.path}", b"cut")
    found = read(store, NOW).lacks(artifact)
    assert [(one.path, one.problem) for one in found] == [(one.path, one.problem) for one in damages(artifact)]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("another", {}),
        ("run-1", {"started_at": "yesterday"}),
        ("run-1", {"started_at": "2026-11-22T01:00:00"}),
        ("run-1", {"heartbeat_at": "<b>"}),
    ],
)
def test_a_record_of_another_or_without_a_time_is_damaged(name: str, change: dict[str, str], tmp_path: Path) -> None:
    store, run = open_store(tmp_path), record("run-1", "mini", [], hours=1, state="running")
    store.write(f"runs/{name}.json", run.model_copy(update=change).to_bytes())
    seen = read(store, NOW)
    assert not seen.runs and [one.path for one in seen.damaged] == [f"runs/{name}.json"]
