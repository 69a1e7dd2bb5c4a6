"""Prefect is told, or not; the stage goes on."""

from __future__ import annotations

import httpx
import pytest

from flows import mirror


def test_a_mirror_that_fails_fails_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[float] = []

    def create(progress: float, key: str, description: str) -> None:
        told.append(progress)
        raise httpx.ConnectError("nobody there")

    monkeypatch.setattr(mirror, "create_progress_artifact", create)
    with mirror.mirrored("pairs-1") as stage:
        stage.progress(1, 2, "pairs")
        stage.progress(2, 2, "pairs")
    assert told == [50.0, 100.0]
    assert "Prefect was not told about stage-pairs-1: nobody there" in caplog.text


def test_progress_is_told_at_most_every_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    monkeypatch.setattr(mirror._ProgressArtifact, "show", lambda self, percent, text: told.append(percent))
    with mirror.mirrored("pairs-1") as stage:
        for done in range(1, 1001):
            stage.progress(done, 1000, "pairs")
    assert told == [0.1, 100.0]
