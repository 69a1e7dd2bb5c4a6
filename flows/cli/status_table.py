"""Run records as tables for people, and with what follows from them for machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from pydantic import JsonValue
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flows.run.costs import Site
from infra.errors import UserError
from infra.upkeep.runs import RunRecord, StageRun
from infra.words import duration, size

_SHOWN_RUNS = 10


def find_run(runs: Sequence[RunRecord], name: str) -> RunRecord:
    """The run of that name or whose name begins so. Raises UserError when none or several do."""
    found = [run for run in runs if run.run_id == name] or [run for run in runs if run.run_id.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"run {name}: several begin so: {', '.join(run.run_id for run in found)}. Give more of it.")
    raise UserError(f"run {name}: there is no such run here. See: instaflow status.")


def runs_table(runs: Sequence[RunRecord], now: datetime) -> RenderableType:
    """One line for each of the last runs, newest first."""
    table = Table("run", "recipe", "state", "started", "took", "made", "cached", "who", "error", box=None)
    table.pad_edge = False
    for run in reversed(runs[-_SHOWN_RUNS:]):
        made = ", ".join(stage.stage for stage in run.stages if stage.state == "done")
        cached = str(sum(stage.state == "cached" for stage in run.stages))
        state = standing(run, now)
        table.add_row(run.run_id, _of(run), state, run.started_at[:19], _took(run), made, cached, _who(run), run.error)
    return table


def run_table(run: RunRecord, now: datetime, site: Site) -> RenderableType:
    """What is known of one run: a line per stage, then where it ran and on what."""
    money, measured = ["cost"] if site.cost else [], ["did", "samples/s", "memory", "GPU memory", "device", "error"]
    table = Table("stage", "state", "took", "device time", *money, *measured, box=None)
    table.pad_edge = False
    for stage in run.stages:
        table.add_row(*_stage_row(stage, site))
    return Group(table, Text("\n".join(["", *_facts(run, now, site)])))


def run_facts(run: RunRecord, now: datetime, site: Site) -> dict[str, JsonValue]:
    """The record with what follows from it: whether the run is lost, its device time (s), what it cost at this site."""
    follows = {"is_lost": run.is_lost(now), "device_seconds": run.device_seconds, "cost": site.spent(run.stages)}
    return {**run.model_dump(mode="json"), **follows}


def standing(run: RunRecord, now: datetime) -> str:
    """How a run stands: a killed one still says that it runs, but has been silent."""
    if run.state != "running":
        return run.state
    if run.is_lost(now):
        return f"lost (last sign of life {duration(run.silent_s(now))} ago)"
    return " ".join(["running", *(stage.stage for stage in run.stages if stage.state == "running")])


def _stage_row(stage: StageRun, site: Site) -> tuple[str, ...]:
    rate = stage.samples_per_second
    cost = [site.shown(site.price(stage.device, stage.device_seconds))] if site.cost else []
    return (
        stage.stage,
        stage.state,
        duration(stage.seconds),
        "" if stage.device_seconds is None else duration(stage.device_seconds),
        *cost,
        "" if stage.units is None else f"{stage.units:,} {stage.unit}",
        "" if rate is None else f"{rate:,.{0 if rate >= 10 else 2}f}",
        "" if stage.peak_memory_bytes is None else size(stage.peak_memory_bytes),
        "" if stage.peak_device_memory_bytes is None else size(stage.peak_device_memory_bytes),
        stage.device or "",
        stage.error or "",
    )


def _facts(run: RunRecord, now: datetime, site: Site) -> Iterator[str]:
    ended = "" if run.exit is None else f", exit {run.exit}"
    yield f"{run.run_id} of {_of(run)}: {standing(run, now)}{ended}"
    device = f", {duration(run.device_seconds)} of device time" if run.device_seconds else ""
    device += f", {cost}" if (cost := site.shown(site.spent(run.stages))) else ""
    yield f"started {run.started_at[:19]}, took {_took(run) or '?'}{device}, by {_who(run)}, process {run.pid or '?'}"
    if run.teacher is not None:
        yield f"teacher {run.teacher} ({(run.teacher_digest or '')[:12]})"
    if run.overrides:
        yield f"set {', '.join(run.overrides)}"
    if run.flow_run is not None:
        yield f"in Prefect {run.flow_run}"
    yield ", ".join(f"{name} {value}" for name, value in run.environment.items())


def _of(run: RunRecord) -> str:
    return run.recipe if run.part_of is None else f"{run.recipe}, part of {run.part_of}"


def _took(run: RunRecord) -> str:
    end = run.finished_at or run.heartbeat_at
    if end is None:
        return ""
    return duration((datetime.fromisoformat(end) - datetime.fromisoformat(run.started_at)).total_seconds())


def _who(run: RunRecord) -> str:
    return f"{run.user or 'unknown'}@{run.environment.get('host', 'unknown')}"
