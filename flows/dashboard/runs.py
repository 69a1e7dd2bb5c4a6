"""The pages of the runs: lists by recipe, state and teacher, one page a run, and two of them side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flows.dashboard.comparing import compared
from flows.dashboard.facets import Facet, facet
from flows.dashboard.render import paged, render
from flows.observed.known import Known
from flows.observed.run_facts import RunFacts
from flows.page_names import run_path

AT_ONCE = 100
SIDE_BY_SIDE = 8
"""Of so many of the newest runs, each is compared with each."""
COMPARE = "compare"
"""Where a served dashboard compares any two, named by the fields `a` and `b` of the query."""


@dataclass(frozen=True)
class _Row:
    """A line of the table of comparisons: a run against each of the others, where that has a page."""

    one: RunFacts
    others: Sequence[RunFacts]
    targets: Sequence[str | None]


def run_pages(known: Known) -> Iterator[tuple[str, bytes]]:
    """Path and content of every page that is about runs; lists after what they link to."""
    runs = [*known.runs.values()]
    for run in runs:
        yield run_path(run.record.run_id), _run(known, run)
    newest = [run for run in runs if run.record.part_of is None][:SIDE_BY_SIDE]
    yield from _comparisons(known, newest)
    facets = (
        facet("recipe", "runs-of", runs, lambda run: run.record.recipe),
        facet("state", "runs-that-are", runs, lambda run: run.state),
        facet("teacher", "runs-on", runs, lambda run: run.teacher),
    )
    for one in facets:
        for value in one.values:
            yield from _list(known, value.items, value.stem, facets, value.name)
    yield from _list(known, runs, "runs", facets, pairs=_matrix(newest))


def _list(
    known: Known,
    runs: Sequence[RunFacts],
    stem: str,
    facets: Sequence[Facet[RunFacts]],
    of: str = "",
    pairs: Sequence[_Row] = (),
) -> Iterator[tuple[str, bytes]]:
    for page in paged(runs, stem, AT_ONCE):
        shown = () if page.number else pairs
        yield (
            page.path,
            render("runs.html.j2", page.path, room="Runs", known=known, page=page, facets=facets, of=of, pairs=shown),
        )


def _run(known: Known, run: RunFacts) -> bytes:
    previous = known.before(run)
    told = compared(known, previous, run) if previous else None
    path = run_path(run.record.run_id)
    return render("run.html.j2", path, room="Runs", known=known, one=run, previous=previous, told=told)


def _comparisons(known: Known, newest: Sequence[RunFacts]) -> Iterator[tuple[str, bytes]]:
    for place, b in enumerate(newest):
        for a in newest[place + 1 :]:
            path = _pair_path(a, b)
            yield path, _comparison(known, a, b, path)


def comparison(known: Known, names: Sequence[str]) -> bytes | None:
    """The page `compare` of two runs by name, the earlier one first; None where there are not two such runs."""
    found = sorted((known.runs[name] for name in names if name in known.runs), key=lambda run: run.record.started_at)
    return _comparison(known, found[0], found[1], COMPARE) if len(found) == 2 else None


def _comparison(known: Known, a: RunFacts, b: RunFacts, path: str) -> bytes:
    return render("compare.html.j2", path, room="Runs", known=known, a=a, b=b, told=compared(known, a, b))


def _matrix(newest: Sequence[RunFacts]) -> list[_Row]:
    """Each run against each older one; nothing where there are not two."""
    others = newest[1:]
    return [
        _Row(one, others, [_pair_path(other, one) if at >= place else None for at, other in enumerate(others)])
        for place, one in enumerate(newest[:-1])
    ]


def _pair_path(a: RunFacts, b: RunFacts) -> str:
    names = [run_path(run.record.run_id).removeprefix("runs/").removesuffix(".html") for run in (a, b)]
    return f"compare/{names[0]}--{names[1]}.html"
