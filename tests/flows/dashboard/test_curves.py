"""Training curves of the newest trainings."""

from __future__ import annotations

from flows.dashboard.curves import training_curves
from tests.flows.dashboard.html import Page
from tests.flows.observed.small_store import Small


def test_each_kind_of_training_has_a_picture_of_its_newest(small: Small) -> None:
    found = {one.title: one for one in training_curves(small.known)}
    assert {*found} == {"Reflow (reflow)", "Distillation (distill)", "Distillation (direct)"}
    both = found["Distillation (distill)"]
    assert both.artifacts == [small.made["distill again"].base, small.made["distill"].base]
    assert len([tag for tag, _ in Page(both.svg).tags if tag == "polyline"]) == 2
