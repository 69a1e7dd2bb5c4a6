"""Putting a folder that was made elsewhere into a store: an artifact like any other, of the folder's own identity.

What is made from it has the fingerprint of what is made from the folder, so that nothing is made again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from infra.artifact import Artifact, Draft, Folder
from infra.artifact.fingerprint import fingerprint, tree_files
from infra.artifact.manifest import ADDED, tree_digest_of
from infra.artifact.redo import intact
from infra.artifact.stamps import state_of
from infra.environment import utc_now
from infra.errors import UserError
from infra.store import Store
from infra.upkeep.inventory import pin, pinned

_VERSION = 1


def add(
    store: Store, folder: Path, tree: str, sent: Callable[[int], object] = lambda count: None
) -> tuple[Artifact, bool]:
    """The folder as an artifact that holds it as `tree`, pinned, and whether it was put there now.

    One that was interrupted goes on with the files that are not there yet; `sent` is told the bytes of each file.
    Raises UserError for a folder that cannot be read, is empty or changes meanwhile, StoreError.
    """
    source = Folder.open(folder, tree)
    if not tree_files(folder):
        raise UserError(f"{folder}: holds no file. Check the path; it starts at {Path.cwd()}.")
    identity = fingerprint(ADDED, _VERSION, {"tree": tree}, {tree: source.digest})
    found = intact(store, ADDED, identity)
    made = found or _put(store, source, tree, identity, sent)
    if made.base not in pinned(store):
        pin(store, made, f"added from {source.uri}")
    return made, found is None


def _put(store: Store, source: Folder, tree: str, identity: str, sent: Callable[[int], object]) -> Artifact:
    started_at, before = utc_now(), _states(source.path)
    with Draft(store, ADDED, identity) as draft:
        try:
            unit = draft.commit_tree(tree, source.path, sent)
        except ValidationError as error:
            wrong = error.errors()[0]["input"]
            raise UserError(
                f"{source.path}: {wrong!r} is no name for a file of a store. Rename or remove it."
            ) from error
        if tree_digest_of(unit.files) != source.digest or _states(source.path) != before:
            raise UserError(f"{source.path}: changed while it was put into {store.url}. Add it again when it is whole.")
        return draft.finish([tree], _VERSION, {"tree": tree}, {tree: source}, {}, {}, started_at)


def _states(folder: Path) -> dict[str, str]:
    return {name: state_of(path)[0] for name, path in tree_files(folder).items()}
