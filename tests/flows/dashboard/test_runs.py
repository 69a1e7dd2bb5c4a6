"""The pages of the runs."""

from __future__ import annotations

from collections.abc import Mapping

from flows.dashboard.runs import comparison
from flows.page_names import run_path
from tests.flows.dashboard.html import Page
from tests.flows.observed.small_store import Small


def test_lists_hold_their_runs(pages: Mapping[str, str], small: Small) -> None:
    def listed(path: str) -> set[str]:
        return {run_id[-6:] for run_id in small.known.runs if run_path(run_id) in Page(pages[path]).values("href")}

    assert listed("runs.html") == {"aaaaaa", "bbbbbb", "cccccc", "dddddd", "eeeeee", "ffffff", "gggggg", "hhhhhh"}
    assert listed("runs-of-mini.html") == {"aaaaaa", "bbbbbb", "eeeeee", "ffffff"}
    assert listed("runs-that-are-lost.html") == {"dddddd"}


def test_a_run_shows_its_stages_and_what_changed(pages: Mapping[str, str], small: Small) -> None:
    text = Page(pages["runs/2026-11-22T020000-bbbbbb.html"]).text
    assert "distill · seed" in text and "better" in text and small.made["distill again"].base[8:16] in text
    assert "Sent to other workers" in Page(pages["runs/2026-11-22T055000-eeeeee.html"]).text


def test_any_two_are_compared_the_earlier_first(small: Small) -> None:
    names = ["2026-11-22T030000-cccccc", "2026-11-22T010000-aaaaaa"]
    page = Page((comparison(small.known, names) or b"").decode())
    links = [link for link in page.values("href") if link.startswith("runs/")]
    assert links == [f"runs/{name}.html" for name in reversed(names)]
    assert comparison(small.known, [names[0], "another"]) is None and comparison(small.known, names[:1]) is None


def test_any_two_of_the_newest_are_side_by_side(pages: Mapping[str, str]) -> None:
    found = [path for path in pages if path.startswith("compare/")]
    assert len(found) == 7 * 6 // 2, "but for the one that is part of another"
    text = Page(pages["compare/2026-11-22T010000-aaaaaa--2026-11-22T020000-bbbbbb.html"]).text
    assert "distill · seed" in text and "Student, 1 step · Fréchet distance" in text
