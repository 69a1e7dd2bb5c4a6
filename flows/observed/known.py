"""All that is known of a store: what was read of it, and what follows from that, each worked out once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from flows.observed.evaluations import Evaluation, read_evaluations
from flows.observed.lineage import Lineage
from flows.observed.reading import Seen, read
from flows.observed.run_facts import RunFacts, run_facts
from infra.store import Store
from infra.upkeep.runs import RunRecord


@dataclass(frozen=True)
class Known:
    """A store at one moment, and what follows from it."""

    seen: Seen
    evaluations: Mapping[str, Evaluation]
    """By stage/fingerprint."""
    unreadable: Mapping[str, str]
    """Why an evaluation's numbers cannot be read, by stage/fingerprint."""
    kept: frozenset[str] = frozenset()
    """Files of the site that are there; a picture's name says what it is of, so that one there stays."""
    is_served: bool = False
    """Whether the pages are answered by a dashboard that makes others when it is asked."""

    @cached_property
    def lineage(self) -> Lineage:
        """Who was made from whom."""
        return Lineage(self.seen)

    @cached_property
    def runs(self) -> Mapping[str, RunFacts]:
        """By name, the newest first."""
        return run_facts(self.seen)

    @cached_property
    def cards(self) -> frozenset[str]:
        """stage/fingerprint of everything that has a card: whole, damaged or unfinished."""
        return frozenset([*self.seen.artifacts, *self.seen.broken, *self.seen.unfinished])

    def has_card(self, base: str) -> bool:
        """Whether an artifact has a card to link to."""
        return base in self.cards

    def evaluation_of(self, run: RunRecord) -> Evaluation | None:
        """What a run measured, or found measured."""
        return next((self.evaluations[one.artifact] for one in run.stages if one.artifact in self.evaluations), None)

    @cached_property
    def _before(self) -> Mapping[str, RunFacts]:
        found: dict[str, RunFacts] = {}
        last: dict[str, RunFacts] = {}
        for run_id, run in reversed([*self.runs.items()]):
            if run.record.part_of is not None:
                continue
            if before := last.get(run.record.recipe):
                found[run_id] = before
            last[run.record.recipe] = run
        return found

    def before(self, run: RunFacts) -> RunFacts | None:
        """The last earlier run of the same recipe."""
        return self._before.get(run.record.run_id)


def look(store: Store, now: datetime, kept: frozenset[str] = frozenset(), *, is_served: bool = False) -> Known:
    """What is to be known of a store at this moment. Raises StoreError."""
    seen = read(store, now)
    evaluations, unreadable = read_evaluations(seen)
    return Known(seen, evaluations, unreadable, kept, is_served)
