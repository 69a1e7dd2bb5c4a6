"""What it cost: device time under each heading, expected against actual, and room."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from flows.dashboard.cost import GRACE, cost_page
from flows.observed.known import look
from flows.run.costs import FILE
from infra.errors import UserError
from infra.store import open_store
from infra.upkeep.runs import StageRun, write_run
from infra.upkeep.sweep import garbage
from infra.words import size
from tests.flows.dashboard.html import Page
from tests.flows.observed.small_store import NOW, Small, record
from tests.infra.chain import make_chain


def test_device_time_is_told_under_each_heading(pages: Mapping[str, str]) -> None:
    page = Page(pages["cost.html"])
    for heading in ("By week", "By recipe", "By stage", "By who", "By device"):
        assert heading in page.text
    assert "4 min 45 s" in page.text, "nine stages of 25 s, and one of 60 s that is under way"


def test_a_site_with_prices_tells_money(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site.yaml").write_text("cost: {gpu: 3600/h, cpu: 3600/h}\ncurrency: <EUR>\n")
    monkeypatch.setenv(FILE, str(tmp_path / "site.yaml"))
    ((_, data),) = cost_page(small.known)
    page = Page(data.decode())
    assert "285.00 <EUR>" in page.text, "a unit of money a second"
    assert "prices of today" in page.text and b"<EUR>" not in data


def test_more_work_may_take_longer(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for number, (units, seconds) in enumerate([(100, 10.0), (200, 30.0)]):
        stage = StageRun(
            stage="pairs-1", artifact=f"pairs/{number:016x}", state="done", unit="pairs", units=units, seconds=seconds
        )
        run = record(f"run-{number}", "mini", [stage], hours=9 - number, state="done", exit=0)
        write_run(store, run)
    ((_, data),) = cost_page(look(store, NOW))
    assert "20 s" in Page(data.decode()).text and "1.5 ×" in Page(data.decode()).text


def test_what_gc_would_free_is_what_it_says(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    made = make_chain(store, tmp_path / "teacher")
    for ref in store.list("refs"):
        store.delete(ref)
    later = NOW + timedelta(days=3650)
    known = look(store, later)
    ((_, data),) = cost_page(known)
    found = garbage(store, later - GRACE)
    assert {one.what for one in found} == {one.base for one in made.values()}
    assert size(sum(one.bytes for one in found)) in Page(data.decode()).text


def test_nothing_is_told_while_something_is_damaged(pages: Mapping[str, str], small: Small) -> None:
    with pytest.raises(UserError):
        garbage(small.store, NOW)
    assert "nothing is swept before that is mended" in Page(pages["cost.html"]).text
