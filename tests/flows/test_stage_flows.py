"""Every stage can be deployed and run alone: it is a flow of its name, where workers look for it."""

from __future__ import annotations

from flows import stage_flows
from flows.run.stage_flow import DOOR, STAGE_FLOWS
from tasks.stages import STAGES


def test_every_stage_has_a_flow() -> None:
    assert STAGE_FLOWS.keys() == STAGES.keys()
    assert all(getattr(stage_flows, name) is made for name, made in STAGE_FLOWS.items())


def test_the_flows_are_where_they_say_they_are() -> None:
    assert {made.fn.__module__ for made in STAGE_FLOWS.values()} == {stage_flows.__name__} == {DOOR}
