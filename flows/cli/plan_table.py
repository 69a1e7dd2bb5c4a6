"""A plan as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flows.run.costs import Site
from flows.run.planner import Planned
from infra.words import duration, size

_SHOWN_DAYS = 0.05


def plan_table(stages: Sequence[Planned], site: Site) -> RenderableType:
    """One line per stage and a last one with what is to be expected of them all."""
    table = Table("stage", "state", box=None, pad_edge=False)
    for title in ("samples", "TFLOP", "device-days"):
        table.add_column(title, justify="right")
    if site.cost:
        table.add_column("cost", justify="right")
    table.add_column("expected")
    table.add_column("why")
    for stage in stages:
        cost = [site.shown(stage.cost)] if site.cost else []
        table.add_row(stage.id, _state(stage), *_price(stage), *cost, _expected(stage), stage.reason)
    return Group(table, Text(_together(stages, site)))


def _state(stage: Planned) -> str:
    if stage.state == "cached":
        return "CACHED"
    count = f"{stage.done:,}/{stage.total:,}" if stage.state == "resume" else f"{stage.total:,}"
    return f"{stage.state.upper()} {count} {stage.unit if stage.total != 1 else stage.unit.removesuffix('s')}"


def _price(stage: Planned) -> tuple[str, str, str]:
    return _count(stage.samples), _count(stage.tflop), _days(stage.device_days)


def _count(value: float | None) -> str:
    """A number of things as a table has it; small ones with two digits, an unknown one empty."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 10 or value == round(value) else f"{value:.2g}"


def _days(value: float | None) -> str:
    """Device-days with one digit; less than that is empty, like what is not known."""
    return f"{value:,.1f}" if value is not None and value >= _SHOWN_DAYS else ""


def _expected(stage: Planned) -> str:
    time = [] if stage.expected_seconds is None else [duration(stage.expected_seconds)]
    room = [] if stage.expected_bytes is None else [size(stage.expected_bytes)]
    return ", ".join(time + room)


def _total_price(left: Sequence[Planned]) -> str:
    tflop = [stage.tflop for stage in left if stage.tflop is not None]
    if not tflop:
        return ""
    known = [stage.device_days for stage in left if stage.tflop is not None and stage.device_days is not None]
    days = f", {_days(sum(known))} device-days" if len(known) == len(tflop) and sum(known) >= _SHOWN_DAYS else ""
    return f", {_count(sum(tflop))} TFLOP{days}"


def _together(stages: Sequence[Planned], site: Site) -> str:
    left = [stage for stage in stages if stage.state != "cached"]
    if not left:
        return "nothing is to do"
    known_s = [stage.expected_seconds for stage in left if stage.expected_seconds is not None]
    costs = [stage.cost for stage in left if stage.cost is not None]
    money = f", {site.shown(sum(costs))}" if costs else ""
    text = f"to do: {len(left)} of {len(stages)} stages{_total_price(left)}{money}"
    if not known_s:
        return text
    unknown = f", {len(left) - len(known_s)} of them unknown" if len(known_s) < len(left) else ""
    return f"{text}, about {duration(sum(known_s))}{unknown}"
