"""Links and badges."""

from __future__ import annotations

import pytest

from flows.dashboard.links import artifact_link, badge, run_link
from tests.flows.dashboard.html import Page
from tests.flows.observed.small_store import CALLED, DAMAGED, Small, record
from tests.tasks.small_run import NASTY


def test_what_has_a_card_is_a_link(small: Small) -> None:
    page = Page(artifact_link(DAMAGED, small.known, "../"))
    assert page.values("href") == ["../artifacts/pairs/0123456789abcdef.html"] and page.text == "pairs/01234567"


def test_what_has_a_name_is_called_so(small: Small) -> None:
    base = small.made["distill again"].base
    assert Page(artifact_link(base, small.known, "")).text == f"{base[: len('distill/') + 8]} {CALLED}"


@pytest.mark.parametrize("text", [NASTY, "x" * 1000])
def test_what_has_none_is_text(text: str, small: Small) -> None:
    page = Page(artifact_link(text, small.known, ""))
    assert page.text == text[:80] and [tag for tag, _ in page.tags] == ["span"]
    assert Page(badge(text)).text == text


def test_a_run_is_a_link() -> None:
    page = Page(run_link(record("run-1", "mini", [], hours=1, state="done"), ""))
    assert page.values("href") == ["runs/run-1.html"] and page.text == "run-1"
