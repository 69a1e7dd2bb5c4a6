"""A plan as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flows.run.planner import Planned
from infra.words import duration, size


def plan_table(stages: Sequence[Planned]) -> RenderableType:
    """One line per stage and a last one with what is to be expected of them all."""
    table = Table("stage", "state", "expected", "why", box=None, pad_edge=False)
    for stage in stages:
        table.add_row(stage.id, _state(stage), _expected(stage), stage.reason)
    return Group(table, Text(_together(stages)))


def _state(stage: Planned) -> str:
    if stage.state == "cached":
        return "CACHED"
    count = f"{stage.done:,}/{stage.total:,}" if stage.state == "resume" else f"{stage.total:,}"
    return f"{stage.state.upper()} {count} {stage.unit if stage.total != 1 else stage.unit.removesuffix('s')}"


def _expected(stage: Planned) -> str:
    if stage.expected_seconds is None or stage.expected_bytes is None:
        return ""
    return f"{duration(stage.expected_seconds)}, {size(stage.expected_bytes)}"


def _together(stages: Sequence[Planned]) -> str:
    left = [stage for stage in stages if stage.state != "cached"]
    if not left:
        return "nothing is to do"
    known_s = [stage.expected_seconds for stage in left if stage.expected_seconds is not None]
    text = f"to do: {len(left)} of {len(stages)} stages"
    if not known_s:
        return text
    unknown = f", {len(left) - len(known_s)} of them unknown" if len(known_s) < len(left) else ""
    return f"{text}, about {duration(sum(known_s))}{unknown}"
