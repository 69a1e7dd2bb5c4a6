"""Reading every byte of an artifact again: what is damaged is named, and redone by the next run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from pydantic import Field

from infra.artifact import Artifact
from infra.artifact.manifest import FileRecord, Record, Sha256
from infra.artifact.redo import Redo, lift, redo_units
from infra.environment import utc_now
from infra.store.at_once import at_once

VERIFIED = "verified.json"


class Verified(Record):
    """The record `verified.json` beside a manifest: when every byte of it was last read and found right."""

    digest: Sha256 = Field(description="manifest digest of what was read")
    finished_at: str = Field(description="when what was read had been finished: what was made since was not read")
    at: str = Field(description="when the reading ended: ISO 8601, UTC")

    def is_of(self, artifact: Artifact) -> bool:
        """Whether it is the artifact as it is now that was read."""
        return (self.digest, self.finished_at) == (artifact.digest, artifact.manifest.finished_at)


@dataclass(frozen=True)
class Damage:
    """A file that is not what the manifest says."""

    path: str
    problem: str


def damages(artifact: Artifact, seen: Callable[[int], None] = lambda count: None) -> Iterator[Damage]:
    """Every file of the artifact that is missing or has another content; `seen` is told the bytes read.

    Nothing that was checked before is believed. Raises StoreError: an outage is no damage.
    """
    sizes, files = artifact.store.sizes(artifact.base), artifact.manifest.files
    with closing(at_once(lambda record: _problem(artifact, record, sizes), files)) as problems:
        for record, problem in zip(files, problems, strict=True):
            if problem:
                yield Damage(record.path, problem)
            seen(record.bytes)


def _problem(artifact: Artifact, record: FileRecord, sizes: Mapping[str, int]) -> str | None:
    path = f"{artifact.base}/{record.path}"
    if path not in sizes:
        return "is missing"
    if sizes[path] != record.bytes:
        return f"has {sizes[path]} bytes instead of {record.bytes}"
    digest = hashlib.sha256()
    try:
        for chunk in artifact.store.chunks(path):
            digest.update(chunk)
    except FileNotFoundError:  # since the listing
        return "is missing"
    found = digest.hexdigest()
    return None if found == record.sha256 else f"has sha256 {found} instead of {record.sha256}"


def mark(artifact: Artifact, found: Collection[Damage], before: Mapping[str, Redo]) -> list[str]:
    """Have the next run redo the units that the damaged files belong to; with no damage, lift the marks of before.

    That there was none is recorded. `before` are the marks that stood when the reading began. Returns the ids of the
    units. Raises StoreError.
    """
    if not found:
        lift(artifact.store, artifact.base, before)
        record = Verified(digest=artifact.digest, finished_at=artifact.manifest.finished_at, at=utc_now())
        artifact.store.write(f"{artifact.base}/{VERIFIED}", record.to_bytes())
        return []
    bad = {damage.path for damage in found}
    units = [name for name, unit in artifact.units().items() if any(file.path in bad for file in unit.files)]
    redo_units(artifact.store, artifact.base, units, f"{', '.join(sorted(bad))} is damaged")
    return units
