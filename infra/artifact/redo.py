"""Doing it again: when a committed artifact is not to be taken as it is, and how the next run learns of it.

The mark `redo.json` beside a manifest says so; the records of the units concerned are deleted before it is written,
so that a kill between the two leaves the artifact as it was. Readers keep the old manifest until `Draft.finish`
replaces it and takes the mark away; whoever is killed on the way goes on from the units that were made since.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from pydantic import Field, ValidationError

from infra.artifact.artifact import Artifact
from infra.artifact.manifest import Record
from infra.environment import utc_now
from infra.store import Store

REDO = "redo.json"
FORCED = "asked for with --force"
_log = logging.getLogger(__name__)


class Redo(Record):
    """The mark `redo.json`."""

    reason: str = Field(description="why the artifact, or a part of it, is to be made again")
    since: str = Field(description="ISO 8601, UTC")


def redo_all(store: Store, base: str) -> None:
    """Have the whole artifact at `base` made again; one that is being redone for that reason goes on."""
    mark = _read(store, base)
    if mark is not None and mark.reason == FORCED:
        return
    for path in [*store.list(f"{base}/units"), *store.list(f"{base}/checkpoints")]:
        store.delete(path)
    _write(store, base, FORCED)


def redo_units(store: Store, base: str, units: Collection[str], reason: str) -> None:
    """Have these units of the artifact at `base` made again; a unit without a record is redone anyway."""
    for unit in sorted(units):
        store.delete(f"{base}/units/{unit}.json")
    mark = _read(store, base)
    if mark is None or mark.reason != FORCED:  # what is redone as a whole stays so
        _write(store, base, reason)


def lift(store: Store, base: str) -> None:
    """Take the mark away from an artifact that was found sound, unless it was asked for again as a whole."""
    mark = _read(store, base)
    if mark is not None and mark.reason != FORCED:
        store.delete(f"{base}/{REDO}")


def why_redo(artifact: Artifact) -> str | None:
    """Why the artifact is not to be taken as it is; None when it is sound as far as one listing can tell.

    Sees the mark, files that are gone and files of another size. Raises StoreError: an outage is no damage.
    """
    sizes = artifact.store.sizes(artifact.base)
    if f"{artifact.base}/{REDO}" in sizes:
        mark = _read(artifact.store, artifact.base)
        return mark.reason if mark else None
    for file in artifact.manifest.files:
        found = sizes.get(f"{artifact.base}/{file.path}")
        if found is None:
            return f"{file.path} is missing"
        if found != file.bytes:
            return f"{file.path} has {found} bytes instead of {file.bytes}"
    return None


def _write(store: Store, base: str, reason: str) -> None:
    store.write(f"{base}/{REDO}", Redo(reason=reason, since=utc_now()).to_bytes())


def _read(store: Store, base: str) -> Redo | None:
    try:
        return Redo.model_validate_json(store.read(f"{base}/{REDO}"))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        _log.warning("%s/%s/%s does not parse, taken as it is: %s", store.url, base, REDO, error)
        return Redo(reason=f"{REDO} is there and does not parse", since="")
