"""Naming artifacts: a name is moved only by who says so, keeps its history, and keeps what it stands for from `gc`."""

from __future__ import annotations

from infra.artifact import Artifact
from infra.artifact.names import NAMES, NameRecord, Naming, is_name, name_path, read_name
from infra.environment import user, utc_now
from infra.errors import UserError
from infra.store import Store
from infra.upkeep.inventory import read_strictly


def give_name(artifact: Artifact, name: str, *, move: bool = False, note: str = "") -> NameRecord:
    """Have the name stand for the artifact in its store; one that stands for another has to be moved.

    Raises UserError for what can be no name and for one that is taken, StoreError.
    """
    if not is_name(name):
        raise UserError(
            f"name {name}: expected letters, digits, dots, dashes and underscores, and not the digits of a fingerprint"
            " alone, for instance sd15-v3."
        )
    store, before = artifact.store, read_name(artifact.store, name)
    if before and (before.now.artifact, before.now.digest) == (artifact.base, artifact.digest):
        return before
    if before and not move:
        raise _taken(name, before, artifact)
    now = Naming(artifact=artifact.base, digest=artifact.digest, since=utc_now(), by=user(), note=note)
    record = NameRecord(history=[*(before.history if before else []), now])
    if before:
        store.write(name_path(name), record.to_bytes())
    elif not store.create(name_path(name), record.to_bytes()):
        raise _taken(name, read_name(store, name) or record, artifact)
    return record


def _taken(name: str, before: NameRecord, artifact: Artifact) -> UserError:
    return UserError(
        f"name {name}: stands for {before.now.artifact} since {before.now.since[:19]}; say --move to have it stand for"
        f" {artifact.base}."
    )


def take_name(store: Store, name: str) -> bool:
    """Take a name away, with its history; whether there was one. Raises UserError, StoreError."""
    had = read_name(store, name) is not None
    if had:
        store.delete(name_path(name))
    return had


def names(store: Store) -> dict[str, NameRecord]:
    """Every name of a store. Raises UserError for a record that does not parse, StoreError."""
    found = read_strictly(store, NAMES, NameRecord)
    return {path.removeprefix(f"{NAMES}/").removesuffix(".json"): record for path, record in found.items()}
