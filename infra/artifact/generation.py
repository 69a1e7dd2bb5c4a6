"""Which making of an artifact a run belongs to: the first one, or the one that answers the marks it found."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from infra.artifact.artifact import Artifact, ArtifactMissing, base_of
from infra.artifact.manifest import UnitRecord
from infra.artifact.redo import REDO, Redo, standing
from infra.store import Store


@dataclass(frozen=True)
class Generation:
    """The marks it answers, by id, and the units that stay as they were; neither for the first making.

    `before` are the ids of marks that were answered earlier: one may lie there still, of a writer that was killed.
    """

    marks: Mapping[str, Redo]
    kept: Mapping[str, UnitRecord]
    before: Collection[str] = ()

    @classmethod
    def of(cls, store: Store, stage: str, fingerprint: str) -> Generation:
        """The generation of whoever begins or goes on now. Raises UserError for a damaged manifest, StoreError."""
        base = base_of(stage, fingerprint)
        marks = standing(store, base)
        if not marks:
            return cls({}, {})
        try:
            made = Artifact.open(store, stage, fingerprint)
        except ArtifactMissing:  # asked for before it was finished
            return cls(marks, {})
        kept = {name: unit for name, unit in made.units().items() if not _concerned(marks, name)}
        return cls(marks, kept, made.manifest.redone)

    @property
    def answered(self) -> list[str]:
        """The ids of all marks that are answered with what it makes, oldest first."""
        return sorted({*self.before, *self.marks})

    @property
    def name(self) -> str:
        """The newest mark's id; empty for the first making, which is before all others."""
        return max(self.marks, default="")

    def folder(self, base: str) -> str:
        """Where it keeps its unit records and checkpoints, for an artifact at `base`."""
        return f"{base}/{REDO}/{self.name}" if self.marks else base


def _concerned(marks: Mapping[str, Redo], unit: str) -> bool:
    return any(mark.concerns(unit) for mark in marks.values())
