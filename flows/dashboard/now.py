"""The front page: what runs, what failed and how to go on, what waits for what, what is damaged."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flows.dashboard.live import Live, live
from flows.dashboard.progress import Progress, progress
from flows.dashboard.render import render
from flows.observed.known import Known
from flows.observed.run_facts import RunFacts
from flows.recipes import bundled

AT_MOST = 20
"""Lines of each list of the page."""


@dataclass(frozen=True)
class Running:
    """A run under way: its stages, and those still to come with what they wait for."""

    run: RunFacts
    stages: Sequence[Progress]
    live: Mapping[str, Sequence[Live]]
    """What trainings show of themselves, by stage/fingerprint."""
    to_come: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Ended:
    """The last run of a recipe, which did not end well, and how to go on."""

    run: RunFacts
    stage: str | None
    command: str | None
    """None where the file of its recipe is not known."""


def now_page(known: Known) -> Iterator[tuple[str, bytes | None]]:
    """Path and content of the front page, and of pictures on it; None for one that is there. Raises StoreError."""
    own = [run for run in known.runs.values() if run.record.part_of is None]
    running = [run for run in own if run.state == "running"]
    shown = [_running(known, run, own) for run in running[:AT_MOST]]
    ended = [*_ended(known, own)]
    drawings = {one.picture: one.drawing for run in shown for some in run.live.values() for one in some if one.picture}
    for path, drawing in drawings.items():
        yield path, None if path in known.kept else drawing
    yield (
        "index.html",
        render(
            "now.html.j2",
            "index.html",
            room="Now",
            known=known,
            running=shown,
            more_running=max(0, len(running) - AT_MOST),
            ended=ended[:AT_MOST],
            more_ended=max(0, len(ended) - AT_MOST),
            unfinished=[base for base in known.seen.unfinished if base not in _under_way(running)],
            last_sign=max((run.record.last_sign_at for run in own), default=None),
            bytes=sum(file.bytes for one in known.seen.artifacts.values() for file in one.manifest.files),
            at_most=AT_MOST,
        ),
    )


def _running(known: Known, run: RunFacts, own: Sequence[RunFacts]) -> Running:
    stages = progress(known, run)
    found = {one.stage.artifact: live(known, one.stage.artifact) for one in stages}
    return Running(run, stages, found, _to_come(known, run, own))


def _ended(known: Known, own: Sequence[RunFacts]) -> Iterator[Ended]:
    seen: set[str] = set()
    for run in own:
        if run.record.recipe in seen:
            continue
        seen.add(run.record.recipe)
        if run.state in ("failed", "lost", "cancelled"):
            open_ = [stage.stage for stage in run.record.stages if stage.state in ("failed", "cancelled", "running")]
            yield Ended(run, next(iter(open_), None), _command(known, run))


def _command(known: Known, run: RunFacts) -> str | None:
    if run.record.recipe not in bundled():
        return None
    settings = [part for text in run.record.overrides for part in ("--set", text)]
    return shlex.join(["instaflow", "run", run.record.recipe, *settings, "--store", known.seen.store.url])


def _to_come(known: Known, run: RunFacts, own: Sequence[RunFacts]) -> dict[str, list[str]]:
    """What the last run of the recipe that ended well did after these stages, each with what it waits for."""
    last = next((one for one in own if one.record.recipe == run.record.recipe and one.state == "done"), None)
    if last is None:
        return {}
    begun = {stage.stage for stage in run.record.stages}
    finished = {stage.stage for stage in run.record.stages if stage.state in ("done", "cached")}
    stage_of = {stage.artifact: stage.stage for stage in last.record.stages}
    took = {base: [stage_of.get(one.base or "") for one in known.lineage.inputs.get(base, ())] for base in stage_of}
    return {
        name: [other for other in dict.fromkeys(took[base]) if other and other not in finished]
        for base, name in stage_of.items()
        if name not in begun
    }


def _under_way(running: Sequence[RunFacts]) -> set[str]:
    return {stage.artifact for run in running for one in (run, *run.parts) for stage in one.record.stages}
