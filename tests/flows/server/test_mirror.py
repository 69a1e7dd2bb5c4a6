"""Prefect is told, or not; the stage goes on."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.server import mirror
from infra.errors import UserError
from infra.store import open_store
from tasks.stage import Behalf
from tests.infra.chain import make

BEHALF = Behalf(recipe="mini", run="run-1", teacher="/models/sd15")


def test_a_mirror_that_fails_fails_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[float] = []

    def create(progress: float, key: str, description: str) -> None:
        told.append(progress)
        raise httpx.ConnectError("nobody at 'http://me:hunter2@host/api?token=hunter2'")

    monkeypatch.setattr(mirror, "create_progress_artifact", create)
    with mirror.mirrored("pairs-1") as stage:
        stage.progress(1, 2, "pairs")
        stage.progress(2, 2, "pairs")
    assert told == [50.0, 100.0]
    assert (
        "Prefect was not told about pairs-1: nobody at 'http://host/api" in caplog.text and "hunter2" not in caplog.text
    )


def test_progress_is_told_at_most_every_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    monkeypatch.setattr(mirror._ProgressArtifact, "show", lambda self, percent, text: told.append(percent))
    with mirror.mirrored("pairs-1") as stage:
        for done in range(1, 1001):
            stage.progress(done, 1000, "pairs")
    assert told == [0.1, 100.0]


@dataclass
class Told:
    """What a mirror told Prefect: the cards by key, and the events."""

    cards: dict[str, tuple[str, str]] = field(default_factory=dict)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """Stands in for Prefect."""
    told = Told()

    def card(markdown: str, key: str, description: str) -> None:
        told.cards[key] = markdown, description

    monkeypatch.setattr(mirror, "create_markdown_artifact", card)
    monkeypatch.setattr(mirror, "emit_event", lambda event, resource, payload: told.events.append((event, payload)))
    return told


def test_a_stage_that_is_made_leaves_a_card_and_events_with_what_it_came_to(tmp_path: Path, told: Told) -> None:
    made = make(open_store(tmp_path / "store"), "pairs", {})
    with mirror.mirrored("pairs-1", BEHALF) as stage:
        with mirror.telling(stage, made.base) as committed:
            committed(made)
        stage.committed(made, cached=True)
    (key, (card, description)), *_ = told.cards.items()
    assert key == "mini-sd15-a6842e-pairs-1" and description.startswith("pairs-1: 4 rows, ")
    assert f"| artifact | `{made.uri}` |" in card and "| rows | 4 |" in card and "| mean | 0.5 |" in card
    started, committed_, cached = told.events
    common = {"recipe": "mini", "run": "run-1", "teacher": "/models/sd15", "stage": "pairs-1", "artifact": made.base}
    facts = {"digest": made.digest, "rows": 4, "seconds": made.manifest.seconds, "metrics": {"mean": 0.5}}
    assert started == ("instaflow.stage.started", common)
    assert committed_ == ("instaflow.stage.committed", {**common, **facts})
    assert cached == ("instaflow.stage.cached", {**common, **facts})


def test_a_stage_that_fails_says_so_and_one_that_is_stopped_does_not(told: Told) -> None:
    def work(error: BaseException, *, is_told: bool = True) -> None:
        with mirror.mirrored("pairs-1") as stage, mirror.telling(stage, "pairs/0", is_told=is_told):
            raise error

    refused = UserError("no way to s3://me:hunter2@bucket/x")
    for error, is_told in ((refused, True), (KeyboardInterrupt(), True), (refused, False)):
        with pytest.raises(type(error)):
            work(error, is_told=is_told)
    assert [event for event, _ in told.events] == [
        "instaflow.stage.started", "instaflow.stage.failed", "instaflow.stage.started",
    ]  # fmt: skip
    assert told.events[1][1]["error"] == "no way to s3://bucket/x"


def test_keys_are_stable_and_of_one_recipe_and_teacher_alone() -> None:
    def key(recipe: str, teacher: str | None) -> str:
        return mirror.key_of("pairs-1", Behalf(recipe, "run", teacher))

    assert key("tiny", "mini") == "tiny-mini-pairs-1" and key("tiny", None) == "tiny-pairs-1"
    keys = {
        key(*told) for told in (("a.b", "mini"), ("a-b", "mini"), ("A-B", "mini"), ("a-b", "/x/sd"), ("a-b", "/y/sd"))
    }
    assert len(keys) == 5 and all(re.fullmatch("[a-z0-9-]+", one) for one in keys), "as Prefect wants them"
    assert mirror.key_of("pairs-1", None) == "pairs-1"
