"""Prefect is told, or not; the stage goes on."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from flows.server import mirror
from infra.artifact import Draft
from infra.environment import utc_now
from infra.store import open_store
from tests.infra.chain import make


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
        "Prefect was not told about stage-pairs-1: nobody at 'http://host/api" in caplog.text
        and "hunter2" not in caplog.text
    )


def test_progress_is_told_at_most_every_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    monkeypatch.setattr(mirror._ProgressArtifact, "show", lambda self, percent, text: told.append(percent))
    with mirror.mirrored("pairs-1") as stage:
        for done in range(1, 1001):
            stage.progress(done, 1000, "pairs")
    assert told == [0.1, 100.0]


def test_a_finished_stage_leaves_a_card_a_link_and_an_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, list[str]] = {"card": [], "link": [], "event": []}
    monkeypatch.setattr(mirror, "create_markdown_artifact", lambda markdown, key: told["card"].append(markdown))
    monkeypatch.setattr(mirror, "create_link_artifact", lambda link, link_text, key: told["link"].append(link))
    monkeypatch.setattr(mirror, "emit_event", lambda event, resource: told["event"].append(event))
    store = open_store(tmp_path / "store")
    made = make(store, "pairs", {})
    with mirror.mirrored("pairs-1") as stage:
        stage.finished(made, cached=False)
        stage.finished(made, cached=True)
    (card,) = told["card"]
    assert f"| artifact | `{made.uri}` |" in card and "| rows | 4 |" in card and "| mean | 0.5 |" in card
    assert told["event"] == ["instaflow.stage.finished", "instaflow.stage.cached"] and told["link"] == []


@pytest.mark.parametrize("away", [False, True])
def test_a_report_is_linked_where_it_lies(tmp_path: Path, away: bool) -> None:
    store = open_store(f"memory://bucket{tmp_path}" if away else tmp_path / "store")
    (tmp_path / "report.html").write_text("<html>")
    with Draft(store, "report", "0" * 64) as draft:
        draft.commit_unit("report", {"report.html": tmp_path / "report.html"})
        made = draft.finish(["report"], 1, {}, {}, {}, {}, utc_now())
    link = mirror._report_link(made) or ""
    if away:
        assert link == f"{made.uri}/{made.files()[0].path}"
    else:
        assert Path(link.removeprefix("file://")).read_text() == "<html>"
