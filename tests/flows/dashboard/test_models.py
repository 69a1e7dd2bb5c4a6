"""The pages of the models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from flows.dashboard.comparing import protocol_differs
from flows.dashboard.models import model_pages
from flows.dashboard.site import build, files
from flows.observed.known import look
from flows.page_names import card_path
from infra.store import Store, open_store
from tests.flows.dashboard.html import Page
from tests.flows.observed.small_store import NOW, Small
from tests.tasks import small_run


def test_the_best_student_is_named_and_others_beside_it(pages: Mapping[str, str], small: Small) -> None:
    page = Page(pages["models.html"])
    best = small.made["distill again"].base
    assert f"The best student is distill/{best[8:16]}" in page.text
    assert card_path(best) in page.values("href") and "as good" in page.text


def test_models_of_the_same_noise_are_over_one_another(small: Small) -> None:
    site = dict(model_pages(small.known))
    page = Page((site["models.html"] or b"").decode())
    strips = page.values("src")[1:]  # after the page's own script
    assert len(strips) > 5 and {*strips} == {path for path in site if path.endswith(".webp")}
    assert all("of the prompts above" in one for one in page.values("alt"))


def test_numbers_stand_against_steps_and_costs(pages: Mapping[str, str]) -> None:
    labels = Page(pages["models.html"]).values("aria-label")
    assert "Fréchet distance to real pictures: Fréchet distance to real pictures against s per picture" in labels
    assert "distill: loss: loss against step" in labels


def test_a_picture_that_is_there_is_not_drawn_again(small: Small, out: Store) -> None:
    build(small.store, out, NOW)
    times = {path: time for path, time in out.modified().items() if path.startswith("pictures/")}
    again = build(small.store, out, NOW)
    assert times and again.changed == 0
    assert {path: time for path, time in out.modified().items() if path in times} == times


def test_what_else_the_machine_did_makes_no_other_protocol_and_is_said(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    busy: dict[str, JsonValue] = {"used_by_others": 1.4, "cores": 2, "disturbed": True}
    made = small_run.run(store, tmp_path / "made", load={"used_by_others": 0.0, "cores": 2, "disturbed": False})
    models = {role: made[stage] for role, stage in (("rectified", "reflow-1"), ("student", "distill"))}
    small_run.evaluation(store, tmp_path / "made", [], models, busy)
    known = look(store, NOW)
    site = {path: data for path, data in model_pages(known) if path.endswith(".html")}
    page = Page((site["models.html"] or b"").decode())
    assert [*site] == ["models.html"] and "busy machine" in page.text
    a, b = (known.evaluations[one] for one in known.evaluations)
    assert not [*protocol_differs(a.metrics, b.metrics)] and [a.is_disturbed, b.is_disturbed].count(True) == 1


def test_a_store_without_evaluations_has_a_page(tmp_path: Path) -> None:
    site = dict(files(look(open_store(tmp_path), NOW)))
    assert b"Nothing was measured yet" in (site["models.html"] or b"")
