"""The numbers of evaluations, and of which models they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.observed.known import look
from infra.store import open_store
from tests.flows.observed.small_store import NOW, Small
from tests.tasks import small_run


def test_each_evaluation_knows_its_models(small: Small) -> None:
    found = small.known.evaluations[small.made["evaluate again"].base]
    assert found.models["student"] == small.made["distill again"].base
    assert found.models["2-rf"] == small.made["reflow-1"].base
    assert {*small.known.evaluations} == {small.made[one].base for one in ("evaluate", "evaluate again")}
    assert not small.known.unreadable


def test_a_record_is_told_as_people_do(small: Small) -> None:
    found = small.known.evaluations[small.made["evaluate"].base]
    labels = [found.label(record) for record in found.of_models]
    assert "Student, 1 step" in labels and not any("Floor" in label for label in labels)


@pytest.mark.parametrize("content", [b"", b"{}"])
def test_numbers_that_are_damaged_are_not_shown(content: bytes, tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    made = small_run.run(store, tmp_path / "made")["evaluate"]
    (file,) = made.files("metrics.json")  # type: ignore[attr-defined]
    store.write(f"{made.base}/{file.path}", content)  # type: ignore[attr-defined]
    known = look(store, NOW)
    assert not known.evaluations and "damaged" in known.unreadable[made.base]  # type: ignore[attr-defined]
