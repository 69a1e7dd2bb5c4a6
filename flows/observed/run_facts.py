"""A run as a reader wants it told: how it stands, who ran it on what, how long it took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from flows.observed.reading import Seen
from infra.upkeep.runs import RunRecord

STATES = ("running", "lost", "failed", "cancelled", "done")


@dataclass(frozen=True)
class RunFacts:
    """What is told of a run; `parts` are what it sent to other workers."""

    record: RunRecord
    state: str
    teacher: str | None
    parent: RunRecord | None = None
    parts: Sequence[RunFacts] = ()

    @property
    def who(self) -> str:
        """The account and the machine."""
        return f"{self.record.user or 'unknown'}@{self.record.environment.get('host', 'unknown')}"

    @property
    def took_s(self) -> float:
        """From its start to its end, or to its last sign of life."""
        end = self.record.finished_at or self.record.heartbeat_at or self.record.started_at
        return (datetime.fromisoformat(end) - datetime.fromisoformat(self.record.started_at)).total_seconds()

    @property
    def device_s(self) -> float:
        """Wall time x devices of its stages and of what it sent to others, s."""
        return self.record.device_seconds + sum(part.device_s for part in self.parts)

    @property
    def error(self) -> str | None:
        """What it failed with."""
        return self.record.error or next((stage.error for stage in self.record.stages if stage.error), None)

    @property
    def has_times(self) -> bool:
        """Whether its stages say when they began; those of older versions do not."""
        return any(stage.started_at for stage in self.record.stages)

    def count(self, state: str) -> int:
        """How many of its stages stand so."""
        return sum(stage.state == state for stage in self.record.stages)


def run_facts(seen: Seen) -> dict[str, RunFacts]:
    """The facts of every run by its name, the newest first."""
    parts: dict[str, list[RunFacts]] = {}
    for run in seen.runs:
        if run.part_of:
            parts.setdefault(run.part_of, []).append(RunFacts(run, _state(run, seen), _teacher(run, seen)))
    return {run.run_id: _facts(run, seen, parts) for run in seen.runs}


def _facts(run: RunRecord, seen: Seen, parts: Mapping[str, Sequence[RunFacts]]) -> RunFacts:
    parent = seen.run_by_id.get(run.part_of) if run.part_of else None
    return RunFacts(run, _state(run, seen), _teacher(run, seen), parent, parts.get(run.run_id, ()))


def _state(run: RunRecord, seen: Seen) -> str:
    return "lost" if run.is_lost(seen.now) else run.state


def _teacher(run: RunRecord, seen: Seen) -> str | None:
    """Its teacher by name; of an older record, the folder that its first pairs were made with."""
    return run.teacher or next(_folders(run, seen), None)


def _folders(run: RunRecord, seen: Seen) -> Iterator[str]:
    for stage in run.stages:
        artifact = seen.artifacts.get(stage.artifact)
        for record in artifact.manifest.inputs if artifact else ():
            if record.role == "teacher":
                yield "/".join(record.uri.rstrip("/").split("/")[-2:])
