"""The page of what it cost: device time by week, recipe and stage, expected against actual, and the room it takes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flows.dashboard.render import render
from flows.observed.known import Known
from flows.observed.run_facts import RunFacts
from flows.run.costs import Site, read_site
from infra.errors import UserError
from infra.store import StoreError
from infra.upkeep.inventory import Entry
from infra.upkeep.runs import StageRun
from infra.upkeep.sweep import GRACE, garbage

LINES, WEEKS = 30, 26


@dataclass(frozen=True)
class Spent:
    """Device time under one heading; `in_vain_s` went to stages that did not end well."""

    name: str
    device_s: float
    in_vain_s: float
    cost: str
    """At this site's prices; empty where there is none."""
    stages: int
    share: float
    """Of the largest under this kind of heading, 0 to 1."""


@dataclass(frozen=True)
class Expected:
    """A stage that was done beside what an earlier run of the recipe let expect of so much work."""

    run: RunFacts
    stage: StageRun
    expected_s: float

    @property
    def ratio(self) -> float:
        """Actual over expected."""
        return self.stage.seconds / self.expected_s


@dataclass(frozen=True)
class Room:
    """What a stage's folders hold, and how much of it no manifest names: units, checkpoints, what is unfinished."""

    stage: str
    artifacts: int
    bytes: int
    beside: int


@dataclass(frozen=True)
class Freed:
    """What `artifacts gc` would remove for one reason."""

    reason: str
    things: int
    bytes: int


def cost_page(known: Known) -> Iterator[tuple[str, bytes]]:
    """Path and content of the page. Raises StoreError, UserError for a damaged file of the site's prices."""
    site = read_site()
    did = [(run, stage) for run in known.runs.values() for stage in run.record.stages if stage.device_seconds]
    freed, why_not = _freed(known)
    rooms = sorted(_rooms(known), key=lambda one: -one.bytes - one.beside)
    weeks = sorted(_spent(site, did, lambda run, stage: _week(run)), key=lambda one: one.name, reverse=True)
    yield (
        "cost.html",
        render(
            "cost.html.j2",
            "cost.html",
            room="Cost",
            known=known,
            has_prices=bool(site.cost),
            total_cost=site.shown(site.spent(stage for _, stage in did)),
            total_s=sum(stage.device_seconds or 0.0 for _, stage in did),
            in_vain_s=sum(stage.device_seconds or 0.0 for run, stage in did if _in_vain(run, stage)),
            tables=[
                ("week, from its Monday", weeks[:WEEKS], max(0, len(weeks) - WEEKS)),
                *(
                    (name, spent[:LINES], max(0, len(spent) - LINES))
                    for name, of in _HEADINGS.items()
                    if (spent := _spent(site, did, of))
                ),
            ],
            expected=[*_expected(known)][:LINES],
            rooms=rooms[:LINES],
            held=sum(one.bytes + one.beside for one in rooms),
            freed=freed,
            why_not=why_not,
            grace=GRACE.days,
        ),
    )


_HEADINGS: dict[str, Callable[[RunFacts, StageRun], str]] = {
    "recipe": lambda run, stage: run.record.recipe,
    "stage": lambda run, stage: stage.stage,
    "who": lambda run, stage: run.record.user or "unknown",
    "device": lambda run, stage: stage.device or "unknown",
}


def _spent(
    site: Site, did: Iterable[tuple[RunFacts, StageRun]], of: Callable[[RunFacts, StageRun], str]
) -> list[Spent]:
    """The device time by what `of` says, the most first."""
    seconds, in_vain, stages = defaultdict[str, float](float), defaultdict[str, float](float), defaultdict(list)
    for run, stage in did:
        name, device_s = of(run, stage), stage.device_seconds or 0.0
        seconds[name] += device_s
        in_vain[name] += device_s if _in_vain(run, stage) else 0.0
        stages[name].append(stage)
    most = max(seconds.values(), default=0.0) or 1.0
    found = (
        Spent(name, one, in_vain[name], site.shown(site.spent(stages[name])), len(stages[name]), one / most)
        for name, one in seconds.items()
    )
    return sorted(found, key=lambda one: -one.device_s)


def _in_vain(run: RunFacts, stage: StageRun) -> bool:
    """Whether a stage ended badly; what it committed is taken up by the next run all the same."""
    return stage.state in ("failed", "cancelled") or (stage.state == "running" and run.state != "running")


def _week(run: RunFacts) -> str:
    at = datetime.fromisoformat(run.record.started_at)
    return f"{at - timedelta(days=at.weekday()):%Y-%m-%d}"


def _expected(known: Known) -> Iterator[Expected]:
    """Every stage that was done after an earlier run of the recipe did it, the newest first."""
    before: dict[tuple[str, str], StageRun] = {}
    found = []
    for run in reversed([*known.runs.values()]):
        for stage in run.record.stages:
            if stage.state != "done" or not stage.units or stage.seconds <= 0:
                continue
            earlier = before.get((run.record.recipe, stage.stage))
            if earlier is not None and earlier.unit == stage.unit and earlier.units:
                found.append(Expected(run, stage, earlier.seconds * stage.units / earlier.units))
            before[run.record.recipe, stage.stage] = stage
    return reversed(found)


def _rooms(known: Known) -> Iterator[Room]:
    named: dict[str, int] = defaultdict(int)
    count = Counter(base.partition("/")[0] for base in known.cards)
    for artifact in known.seen.artifacts.values():
        named[artifact.stage] += sum(file.bytes for file in artifact.manifest.files)
    held: dict[str, int] = defaultdict(int)
    for path, size in known.seen.sizes.items():
        if "/".join(path.split("/", 2)[:2]) in known.cards:
            held[path.partition("/")[0]] += size
    for stage, number in count.items():
        yield Room(stage, number, named[stage], max(0, held[stage] - named[stage]))


def _freed(known: Known) -> tuple[Sequence[Freed], str]:
    """What a sweep would remove, by reason, the most first; else why that is not known. Raises StoreError."""
    seen = known.seen
    if seen.broken:
        return (), f"{next(iter(seen.broken))}: its manifest is damaged: nothing is swept before that is mended."
    entries = [Entry(base, seen.artifacts.get(base)) for base in known.cards]
    try:
        found = garbage(seen.store, seen.now - GRACE, known=entries)
    except StoreError:
        raise
    except UserError as error:
        return (), str(error)
    by_reason: dict[str, list[int]] = defaultdict(list)
    for one in found:
        by_reason[one.reason].append(one.bytes)
    freed = (Freed(reason, len(sizes), sum(sizes)) for reason, sizes in by_reason.items())
    return sorted(freed, key=lambda one: -one.bytes), ""
