"""The front page."""

from __future__ import annotations

from collections.abc import Mapping

from tests.flows.dashboard.html import Page
from tests.flows.observed.small_store import Small


def test_what_runs_and_how_far(pages: Mapping[str, str]) -> None:
    page = Page(pages["index.html"])
    assert "6,000 of 12,000 pairs" in page.text and "about 1 min 00 s left" in page.text
    assert "somebody@node-1" in page.text and "Accelerator X" in page.text
    assert [one["value"] for tag, one in page.tags if tag == "progress"] == ["6000"]
    assert "distill, waits for pairs-student, reflow-1" in page.text
    assert "Begun within the last half minute" not in page.text


def test_what_ended_badly_and_how_to_go_on(pages: Mapping[str, str], small: Small) -> None:
    text = Page(pages["index.html"]).text
    assert f"instaflow run tiny --store {small.store.url}" in text and "fell silent" in text
    assert "killed" in text and "instaflow run killed" not in text, "no file is known of a recipe of that name"
    assert "instaflow run mini" not in text, "its last run is well"
