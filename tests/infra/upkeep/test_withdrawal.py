"""What a sweep took away is given back: at once, or by the sweep after one that was killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.artifact import Artifact, ArtifactMissing
from infra.errors import UserError
from infra.store import open_store
from infra.upkeep.verify import damages
from infra.upkeep.withdrawal import give_back, judge, withdraw
from tests.infra.chain import make

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def test_what_is_kept_comes_back_as_it_was_and_the_rest_is_gone(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    kept, gone = make(store, "pairs", {}), make(store, "pairs", {}, {"steps": 9})
    before = store.read(f"{kept.base}/manifest.json")
    path, record = withdraw(store, [kept.base, gone.base, "pairs/0123456789abcdef"])
    assert store.exists(path) and not store.exists(f"{kept.base}/manifest.json")
    judge(store, path, record, {kept.base})
    assert store.read(f"{kept.base}/manifest.json") == before and not store.list("withdrawn")
    with pytest.raises(ArtifactMissing):
        Artifact.find(store, gone.base)


def test_what_another_made_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    made = make(store, "pairs", {})
    path, record = withdraw(store, [made.base])
    store.write(f"{made.base}/manifest.json", b"another's")
    judge(store, path, record, {made.base})
    assert store.read(f"{made.base}/manifest.json") == b"another's"


def test_nothing_is_noted_where_nothing_is_there(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    judge(store, *withdraw(store, ["pairs/0123456789abcdef"]), kept=set())
    assert store.list() == []


@pytest.mark.parametrize(
    ("age", "before", "comes_back"),
    [
        (timedelta(0), LONG_AGO, False),
        (timedelta(hours=2), LONG_AGO, True),
        (timedelta(0), datetime.max.replace(tzinfo=UTC), True),
    ],
    ids=["under way", "left for hours", "older than the grace"],
)
def test_what_a_killed_sweep_had_is_given_back(
    tmp_path: Path, age: timedelta, before: datetime, comes_back: bool
) -> None:
    store = open_store(tmp_path)
    made = make(store, "pairs", {})
    path, _ = withdraw(store, [made.base])
    since = (datetime.now(UTC) - age).timestamp()
    os.utime(tmp_path / path, (since, since))
    assert give_back(store, before) == ({made.base} if comes_back else set())
    assert store.exists(f"{made.base}/manifest.json") == comes_back and bool(store.list("withdrawn")) != comes_back
    if comes_back:
        assert [*damages(Artifact.find(store, made.base))] == []


@pytest.mark.parametrize(
    "told",
    [lambda _: b"{", lambda base: f'{{"manifests": {{"../{base}": "{{}}"}}}}'.encode()],
    ids=["torn", "out of the store"],
)
def test_a_record_that_does_not_parse_is_an_error(tmp_path: Path, told: Callable[[str], bytes]) -> None:
    store = open_store(tmp_path)
    store.write("withdrawn/x.json", told(make(store, "pairs", {}).base))
    with pytest.raises(UserError, match=r"withdrawn/x\.json: does not parse"):
        give_back(store, LONG_AGO)
