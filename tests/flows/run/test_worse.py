"""A model that got worse is told once, with both numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flows.recipes import parse_recipe
from flows.server import mirror
from infra.upkeep.runs import read_ref
from tests.flows import small_stages
from tests.flows.kitchen import RECIPE, Kitchen

Told = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """The events that Prefect is told."""
    told: Told = []
    monkeypatch.setattr(mirror, "emit_event", lambda event, resource, payload: told.append((event, payload)))
    return told


def run(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch, distance: float, seed: int = 0, model: str = "student"
) -> str:
    """The evaluation of a run whose student is so far from the teacher's pictures."""
    student = {"model": model, "steps": 1, "guidance": 1.0, "frechet_distance": distance}
    metrics = {"schema_version": 2, "protocol": {}, "records": [student | {"frechet_distance_interval": 0.1}]}
    monkeypatch.setattr(small_stages, "_metrics", lambda text: json.dumps(metrics))
    kitchen.run(parse_recipe({"name": RECIPE.name, "distill": {"seed": seed}}, "test"))
    ref = read_ref(kitchen.store, RECIPE.name, "evaluate")
    assert ref is not None
    return ref.artifact


def test_a_student_that_got_worse_is_told_with_its_predecessor(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    first = run(kitchen, monkeypatch, 3.0)
    assert not told, "there is nothing to compare with"
    second = run(kitchen, monkeypatch, 4.0, seed=1)
    ((event, payload),) = told
    assert event == "instaflow.evaluation.worse"
    assert payload["told"] == ["student, 1 step: Fréchet distance, teacher’s 4 ± 0.1, before 3 ± 0.1"]
    assert (payload["recipe"], payload["stage"]) == (RECIPE.name, "evaluate")
    assert (payload["artifact"], payload["before"]) == (second, first)
    run(kitchen, monkeypatch, 4.0, seed=1)
    run(kitchen, monkeypatch, 2.0, seed=2)
    assert len(told) == 1, "made before, and better, are no news"


def test_a_model_that_was_not_trained_here_has_no_predecessor(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    for model in ("model", "teacher"):  # of `instaflow evaluate`, any; of a recipe, whichever it names
        run(kitchen, monkeypatch, 3.0, model=model)
        run(kitchen, monkeypatch, 9.0, seed=1, model=model)
    assert not told


def test_a_predecessor_that_cannot_be_read_fails_no_run(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    first = run(kitchen, monkeypatch, 3.0)
    kitchen.store.delete(f"{first}/manifest.json")
    run(kitchen, monkeypatch, 4.0, seed=1)
    assert not told and "is not compared with the last one" in caplog.text
