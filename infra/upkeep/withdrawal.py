"""Manifests that a sweep took away before it judged them for the last time: noted first, so that none is lost with it.

A run says what it is about to take before it looks for it. So a sweep withdraws a manifest, looks who asked for it by
then, and gives it back or goes on. What it withdrew stands in `withdrawn/<id>.json` from before the first is gone until
all are judged; whoever else sweeps meanwhile leaves them alone.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta

from pydantic import Field

from infra.artifact import MANIFEST
from infra.artifact.manifest import Base, Record
from infra.store import Store
from infra.upkeep.inventory import read_strictly

_FOLDER = "withdrawn"
_REMEDY = (
    "Have the release that wrote it give it back, by its `instaflow artifacts gc --delete`; or delete the file, and let"
    " recipes make those artifacts again of what is there."
)
_LEFT_AFTER = timedelta(hours=1)  # of what takes seconds


class Withdrawn(Record):
    """The record `withdrawn/<id>.json`: the manifests that one sweep took away."""

    manifests: dict[Base, str] = Field(description="by stage/fingerprint, as they were")


def withdraw(store: Store, bases: Iterable[str]) -> str:
    """Take these manifests away, those that are there: the path of the record of them. Raises StoreError."""
    found = store.read_many([f"{base}/{MANIFEST}" for base in bases])  # not all: somebody else may sweep, too
    record = Withdrawn(manifests={path.removesuffix(f"/{MANIFEST}"): data.decode() for path, data in found.items()})
    path = f"{_FOLDER}/{uuid.uuid4().hex}.json"
    if found:
        store.write(path, record.to_bytes())
        store.delete_many([*found])
    return path


def judge(store: Store, path: str, kept: Collection[str]) -> set[str]:
    """Give back what is kept after all; the rest is gone for good, and returned. Raises UserError, StoreError.

    Nothing is gone if the record is: a sweep that slept for an hour finds that all was given back.
    """
    record = _records(store).get(path)
    if record is None:
        return set()
    _restore(store, record.manifests.keys() & kept, record)
    store.delete_many([path])
    return record.manifests.keys() - kept


def withdrawn(store: Store, but: str) -> set[str]:
    """What sweeps have withdrawn that are under way or were killed, besides the one with that record."""
    return {base for path, record in _records(store).items() if path != but for base in record.manifests}


def give_back(store: Store) -> set[str]:
    """Give back what sweeps withdrew an hour ago and more, for they were killed over it: stage/fingerprint.

    Raises UserError for a record that does not parse, StoreError.
    """
    before, records = datetime.now(UTC) - _LEFT_AFTER, _records(store)
    left = [path for path, time in store.modified(_FOLDER).items() if time < before and path in records]
    for path in left:
        _restore(store, records[path].manifests, records[path])
        store.delete_many([path])
    return {base for path in left for base in records[path].manifests}


def _restore(store: Store, bases: Iterable[str], record: Withdrawn) -> None:
    for base in bases:
        store.create(f"{base}/{MANIFEST}", record.manifests[base].encode())


def _records(store: Store) -> dict[str, Withdrawn]:
    return read_strictly(store, _FOLDER, Withdrawn, _REMEDY)
