"""What was made from what, and by which runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from flows.observed.reading import Seen
from infra.artifact.manifest import InputRecord
from infra.upkeep.inventory import base_in
from infra.upkeep.runs import RunRecord


@dataclass(frozen=True)
class Input:
    """What an artifact was made from: an artifact of this store by its base, or a folder that was given."""

    record: InputRecord
    base: str | None


class Lineage:
    """Who was made from whom, among all artifacts of a store."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.inputs: Mapping[str, Sequence[Input]] = {
            base: [self._input(record) for record in artifact.manifest.inputs]
            for base, artifact in seen.artifacts.items()
        }

    def _input(self, record: InputRecord) -> Input:
        base = base_in(record.uri)
        return Input(record, base if base in self.seen.artifacts or base in self.seen.broken else None)

    @cached_property
    def made_of(self) -> Mapping[str, Sequence[str]]:
        """What was made of an artifact, by stage/fingerprint."""
        found: dict[str, dict[str, None]] = {}
        for base, inputs in self.inputs.items():
            for one in inputs:
                if one.base:
                    found.setdefault(one.base, {})[base] = None
        return {base: [*others] for base, others in found.items()}

    @cached_property
    def made_by(self) -> Mapping[str, Sequence[RunRecord]]:
        """The runs that made or used an artifact, the newest first."""
        found: dict[str, list[RunRecord]] = {}
        for run in self.seen.runs:
            for base in dict.fromkeys(stage.artifact for stage in run.stages):
                found.setdefault(base, []).append(run)
        return found

    @cached_property
    def before(self) -> Mapping[str, str]:
        """What a recipe's run had in the place of an artifact, before it first had that artifact."""
        found: dict[str, str] = {}
        last: dict[tuple[str, str], str] = {}
        for run in reversed(self.seen.runs):
            for stage in run.stages:
                place, base = (run.recipe, stage.stage), stage.artifact
                if base not in self.seen.artifacts:
                    continue
                if last.get(place, base) != base:
                    found.setdefault(base, last[place])
                last[place] = base
        return found

    def work_s(self, base: str) -> float:
        """Work of an artifact and of all it was made from, each once, s; 0 for what is none of the store."""
        waiting, counted = [base], dict[str, float]()
        while waiting:
            one = waiting.pop()
            if one in self.seen.artifacts and one not in counted:
                counted[one] = self.seen.artifacts[one].manifest.seconds
                waiting += [source.base for source in self.inputs[one] if source.base]
        return sum(counted.values())
