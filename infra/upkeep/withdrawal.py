"""Manifests that a sweep took away before it judged them for the last time: noted first, so that none is lost with it.

A run says what it is about to take before it looks for it. So a sweep withdraws a manifest, looks who asked for it by
then, and gives it back or goes on. What it withdrew stands in `withdrawn/<id>.json` from before the first is gone until
all are judged, and nothing else of them is removed while it stands there.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from pydantic import Field

from infra.artifact import MANIFEST
from infra.artifact.manifest import Base, Record
from infra.store import Store
from infra.upkeep.inventory import read_strictly

_FOLDER = "withdrawn"
_LEFT_AFTER = timedelta(hours=1)  # the moment between two requests; a sweep that slept for so long is dead


class Withdrawn(Record):
    """The record `withdrawn/<id>.json`: the manifests that one sweep took away."""

    manifests: dict[Base, str] = Field(description="by stage/fingerprint, as they were")


def withdraw(store: Store, bases: Iterable[str]) -> tuple[str, Withdrawn]:
    """Take these manifests away, those that are there: the record of them and its path. Raises StoreError."""
    manifests = dict[str, str]()
    for base in bases:
        with suppress(FileNotFoundError):  # somebody else sweeps, too
            manifests[base] = store.read(f"{base}/{MANIFEST}").decode()
    path, record = f"{_FOLDER}/{uuid.uuid4().hex}.json", Withdrawn(manifests=manifests)
    if manifests:
        store.write(path, record.to_bytes())
        store.delete_many([f"{base}/{MANIFEST}" for base in manifests])
    return path, record


def judge(store: Store, path: str, record: Withdrawn, kept: Collection[str]) -> None:
    """Give back what is kept after all; the rest is gone for good. Raises StoreError."""
    for base in record.manifests.keys() & kept:
        store.create(f"{base}/{MANIFEST}", record.manifests[base].encode())
    if record.manifests:
        store.delete_many([path])


def give_back(store: Store, before: datetime) -> set[str]:
    """Give back what sweeps withdrew and were killed over, an hour ago or before that moment: stage/fingerprint.

    Raises UserError for a record that does not parse, StoreError.
    """
    given = set[str]()
    before = max(before, datetime.now(UTC) - _LEFT_AFTER)
    left = {path for path, time in store.modified(_FOLDER).items() if time < before}
    for path, record in read_strictly(store, _FOLDER, Withdrawn).items():
        if path in left:
            judge(store, path, record, record.manifests)
            given |= record.manifests.keys()
    return given
