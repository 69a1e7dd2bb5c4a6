"""Doing it again: when a committed artifact is not to be taken as it is, and how the next run learns of it.

A mark `redo/<id>.json` beside a manifest says so, one file for each demand: nobody changes another's mark, and a mark
is gone only when a manifest that answers it is there. Nothing is deleted to have it done again. The runs that answer
the same marks are one generation (`generation.py`): what they commit lies below `redo/<id>`, so that a run of an
earlier generation, however long it slept, touches nothing of theirs. Readers keep the old manifest until the new one.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime

from pydantic import Field, ValidationError

from infra.artifact.artifact import MANIFEST, Artifact, ArtifactMissing
from infra.artifact.manifest import MARK, Record
from infra.store import Store

REDO = "redo"
FORCED = "asked for with --force"
_PATH = re.compile(rf"/{REDO}/({MARK})\.json$")
_log = logging.getLogger(__name__)


class Redo(Record):
    """One mark `redo/<id>.json`; ids are in the order of time."""

    reason: str = Field(description="why the artifact, or a part of it, is to be made again")
    units: list[str] | None = Field(default=None, description="ids of the units to make again; null for all")

    def concerns(self, unit: str) -> bool:
        """Whether that unit is to be made again."""
        return self.units is None or unit in self.units


def redo_all(store: Store, base: str) -> None:
    """Have the whole artifact at `base` made again; one that is being redone as a whole goes on."""
    if not any(mark.units is None for mark in standing(store, base).values()):
        _write(store, base, Redo(reason=FORCED))


def redo_units(store: Store, base: str, units: Collection[str], reason: str) -> None:
    """Have these units of the artifact at `base` made again; a unit that lacks a file is redone anyway."""
    _write(store, base, Redo(reason=reason, units=sorted(units)))


def lift(store: Store, base: str, marks: Mapping[str, Redo]) -> None:
    """Take marks away that stood before the artifact was found sound, but for those that want all of it made again."""
    for mark, redo in marks.items():
        if redo.units is not None:
            store.delete(path_of(base, mark))


def path_of(base: str, mark: str) -> str:
    """Where the mark with this id lies."""
    return f"{base}/{REDO}/{mark}.json"


def standing(store: Store, base: str, paths: Iterable[str] | None = None) -> dict[str, Redo]:
    """The marks at `base` that its manifest does not answer, by id, oldest first.

    `paths` is a listing of the artifact's folder, if there is one already. Raises UserError for a damaged manifest,
    StoreError.
    """
    listed = store.list(f"{base}/{REDO}") if paths is None else paths
    ids = sorted(match[1] for path in listed if path.startswith(f"{base}/") and (match := _PATH.search(path)))
    answered = _answered(store, base) if ids else ()
    found = {mark: _read(store, path_of(base, mark)) for mark in ids if mark not in answered}
    return {mark: redo for mark, redo in found.items() if redo is not None}


def marks_among(store: Store, paths: Iterable[str], answered: Mapping[str, Collection[str]]) -> dict[str, list[Redo]]:
    """The marks among all paths of a store that no manifest answers, by artifact, oldest first.

    `answered` are the marks that each manifest answers, by artifact. Raises StoreError.
    """
    found: dict[str, list[Redo]] = {}
    for path in sorted(path for path in paths if f"/{REDO}/" in path):
        match = _PATH.search(path)
        base = path[: match.start()] if match else ""
        if match and match[1] not in answered.get(base, ()) and (redo := _read(store, path)):
            found.setdefault(base, []).append(redo)
    return found


def _answered(store: Store, base: str) -> list[str]:
    try:
        return Artifact.open(store, *base.split("/")).manifest.redone
    except ArtifactMissing:  # asked for before it was finished
        return []


def why_redo(artifact: Artifact) -> str | None:
    """Why the artifact is not to be taken as it is; None when it is sound as far as one listing can tell.

    Sees the marks, files that are gone (the manifest, too) and files of another size. Raises StoreError: an outage is
    no damage.
    """
    sizes = artifact.store.sizes(artifact.base)
    if f"{artifact.base}/{MANIFEST}" not in sizes:
        return f"{MANIFEST} is missing"
    marks = standing(artifact.store, artifact.base, sizes)
    return "; ".join(dict.fromkeys(mark.reason for mark in marks.values())) or _damage(artifact, sizes)


def intact(store: Store, stage: str, fingerprint: str) -> Artifact | None:
    """The committed artifact if it is to stay; one that lacks a file is marked. Raises UserError, StoreError."""
    try:
        found = Artifact.open(store, stage, fingerprint)
    except ArtifactMissing:
        return None
    if why_redo(found) is None:
        return found
    mark_damage(found)
    return None


def mark_damage(artifact: Artifact) -> None:
    """Have it redone where a file is lacking and no mark says so: what replaces it may be other bytes."""
    sizes = artifact.store.sizes(artifact.base)
    if not standing(artifact.store, artifact.base, sizes) and (reason := _damage(artifact, sizes)):
        redo_units(artifact.store, artifact.base, [], reason)


def _damage(artifact: Artifact, sizes: Mapping[str, int]) -> str | None:
    for file in artifact.manifest.files:
        found = sizes.get(f"{artifact.base}/{file.path}")
        if found is None:
            return f"{file.path} is missing"
        if found != file.bytes:
            return f"{file.path} has {found} bytes instead of {file.bytes}"
    return None


def _write(store: Store, base: str, mark: Redo) -> None:
    now = datetime.now(UTC)
    store.write(path_of(base, f"{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}"), mark.to_bytes())


def _read(store: Store, path: str) -> Redo | None:
    try:
        return Redo.model_validate_json(store.read(path))
    except FileNotFoundError:  # answered, or lifted, between the listing and this line
        return None
    except ValidationError as error:
        _log.warning("%s/%s does not parse, taken as it is: %s", store.url, path, error)
        return Redo(reason=f"{path.rpartition('/')[2]} is there and does not parse")
