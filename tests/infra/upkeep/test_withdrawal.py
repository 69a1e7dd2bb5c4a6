"""What a sweep took away is given back: at once, or an hour after it was killed; until then nobody removes it."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.artifact import Artifact, ArtifactMissing
from infra.errors import UserError
from infra.store import open_store
from infra.upkeep.sweep import garbage, sweep
from infra.upkeep.verify import damages
from infra.upkeep.withdrawal import give_back, judge, withdraw, withdrawn
from tests.infra.chain import make


def late() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


def aged(folder: Path, path: str) -> None:
    since = (datetime.now(UTC) - timedelta(hours=2)).timestamp()
    os.utime(folder / path, (since, since))


def test_what_is_kept_comes_back_as_it_was_and_the_rest_is_gone(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    kept, gone = make(store, "pairs", {}), make(store, "pairs", {}, {"steps": 9})
    before = store.read(f"{kept.base}/manifest.json")
    path = withdraw(store, [kept.base, gone.base, "pairs/0123456789abcdef"])
    assert store.exists(path) and not store.exists(f"{kept.base}/manifest.json")
    assert judge(store, path, {kept.base}) == {gone.base}
    assert store.read(f"{kept.base}/manifest.json") == before and not store.list("withdrawn")
    with pytest.raises(ArtifactMissing):
        Artifact.find(store, gone.base)


def test_what_another_made_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    made = make(store, "pairs", {})
    path = withdraw(store, [made.base])
    store.write(f"{made.base}/manifest.json", b"another's")
    judge(store, path, {made.base})
    assert store.read(f"{made.base}/manifest.json") == b"another's"


def test_nothing_is_noted_where_nothing_is_there(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert judge(store, withdraw(store, ["pairs/0123456789abcdef"]), kept=set()) == set() and store.list() == []


def test_what_a_killed_sweep_had_is_given_back_an_hour_later(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    made = make(store, "pairs", {})
    path = withdraw(store, [made.base])
    assert give_back(store) == set() and not store.exists(f"{made.base}/manifest.json"), "it may be under way"
    aged(tmp_path, path)
    assert give_back(store) == {made.base} and not store.list("withdrawn")
    assert [*damages(Artifact.find(store, made.base))] == []


def test_nobody_removes_what_another_sweep_has_yet_to_judge(tmp_path: Path) -> None:
    """It looks unfinished and old, and is neither."""
    store = open_store(tmp_path)
    made = make(store, "pairs", {})
    files = store.list(made.base)
    path = withdraw(store, [made.base])
    assert garbage(store, late()) == [] and withdrawn(store, "") == {made.base} and withdrawn(store, path) == set()
    judge(store, path, {made.base})
    assert store.list(made.base) == files and [*damages(Artifact.find(store, made.base))] == []


def test_a_sweep_that_slept_removes_nothing_that_was_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    made = make(store, "pairs", {})
    files = store.list(made.base)

    def asleep(*told: object) -> set[str]:
        (path,) = store.list("withdrawn")
        aged(tmp_path, path)
        assert give_back(store) == {made.base}
        return judge(*told)  # type: ignore[arg-type]

    monkeypatch.setattr("infra.upkeep.sweep.judge", asleep)
    found = garbage(store, late())
    assert [one.what for one in found] == [made.base] and sweep(store, found, late()) == []
    assert store.list(made.base) == files


@pytest.mark.parametrize(
    "told",
    [lambda _: b"{", lambda base: f'{{"manifests": {{"../{base}": "{{}}"}}}}'.encode()],
    ids=["torn", "out of the store"],
)
def test_a_record_that_does_not_parse_is_an_error(tmp_path: Path, told: Callable[[str], bytes]) -> None:
    store = open_store(tmp_path)
    store.write("withdrawn/x.json", told(make(store, "pairs", {}).base))
    for ask in (lambda: give_back(store), lambda: garbage(store, late())):
        with pytest.raises(
            UserError, match=r"withdrawn/x\.json: does not parse, so what it keeps is unknown. Have the release"
        ):
            ask()
