"""A name is moved only when that is said, remembers what it stood for, and keeps what it stands for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from infra.errors import UserError
from infra.store import Store
from infra.upkeep.naming import give_name, names, take_name
from infra.upkeep.sweep import garbage, sweep
from tests.infra.chain import make


def test_a_name_is_moved_by_who_says_so_and_keeps_its_history(store: Store) -> None:
    first, second = make(store, "distill", {}), make(store, "distill", {}, {"steps": 2})
    assert give_name(first, "sd15-v3", note="the paper's") == give_name(first, "sd15-v3"), "said twice"
    with pytest.raises(UserError, match=rf"^name sd15-v3: stands for {first.base} since .*; say --move to have it"):
        give_name(second, "sd15-v3")
    give_name(second, "sd15-v3", move=True)
    give_name(first, "sd15-v3", move=True)
    (record,) = names(store).values()
    assert [one.artifact for one in record.history] == [first.base, second.base, first.base]
    assert record.history[0].note == "the paper's" and record.now.digest == first.digest and record.now.by
    assert [one.since for one in record.history] == sorted(one.since for one in record.history)
    with pytest.raises(UserError, match="^name beef: expected letters"):
        give_name(first, "beef")


def test_what_is_named_is_kept_with_what_it_was_made_from(store: Store) -> None:
    late = datetime.now(UTC) + timedelta(days=1)
    pairs = make(store, "pairs", {})
    student, old = make(store, "distill", {"pairs": pairs}), make(store, "distill", {})
    give_name(old, "sd15-v3")
    give_name(student, "sd15-v3", move=True)
    assert [one.what for one in garbage(store, late)] == [old.base], "what it stood for before is let go"
    assert take_name(store, "sd15-v3") and not take_name(store, "sd15-v3") and names(store) == {}
    assert {one.what for one in sweep(store, garbage(store, late), late)} == {pairs.base, student.base, old.base}


def test_nothing_is_swept_while_what_a_name_keeps_is_unknown(store: Store) -> None:
    store.write("names/x.json", b"{}")
    with pytest.raises(UserError, match=r"names/x\.json: does not parse, so what it keeps is unknown"):
        garbage(store, datetime.now(UTC))
