"""Copying an artifact to another store, with all it was made from; the manifest comes last, as ever."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator

from infra.artifact import MANIFEST, Artifact, ArtifactMissing
from infra.artifact.manifest import FileRecord
from infra.artifact.redo import lift, standing, why_redo
from infra.errors import UserError
from infra.store import Store
from infra.store.at_once import at_once
from infra.upkeep.inventory import inputs_of

FILES_AT_ONCE = 4
"""Files that are copied at the same time; memory holds a few parts of each."""


def with_inputs(artifact: Artifact) -> list[Artifact]:
    """The artifact after everything of its store that it was made from, each once, inputs first."""
    found: dict[str, Artifact] = {}

    def visit(one: Artifact) -> None:
        for _, source in inputs_of(one):
            if source is not None and source.base not in found:
                visit(source)
        found[one.base] = one

    visit(artifact)
    return [*found.values()]


def copy(artifact: Artifact, target: Store, copied: Callable[[int], None] = lambda count: None) -> bool:
    """Copy one artifact, every file checked on its way; `copied` is told the bytes. False if it is there already.

    A copy that was interrupted goes on, one that is known to be damaged is mended. Raises UserError for a damaged
    source and for another artifact of the same name in `target`, StoreError.
    """
    if reason := why_redo(artifact):
        raise UserError(f"{artifact.uri}: {reason}: it is to be redone first. Run its recipe, then copy.")
    if _is_there(artifact, target):
        return False
    there, marks = target.sizes(artifact.base), standing(target, artifact.base)
    doubted = {
        file.path
        for name, unit in artifact.units().items()
        if any(mark.concerns(name) for mark in marks.values())
        for file in unit.files
    }

    def bring(file: FileRecord) -> int:
        path = f"{artifact.base}/{file.path}"
        if there.get(path) != file.bytes or file.path in doubted:
            target.put(path, _checked(artifact, file), file.bytes, file.sha256)
        return file.bytes

    for size in at_once(bring, artifact.manifest.files, FILES_AT_ONCE):
        copied(size)
    if not artifact.manifest.units:  # of an older version: its records let the copy be repaired by unit
        units = artifact.store.read_many(artifact.store.list(f"{artifact.base}/units"))
        deque(at_once(lambda path: target.write(path, units[path]), units), maxlen=0)
    manifest = f"{artifact.base}/{MANIFEST}"
    target.write(manifest, artifact.store.read(manifest))
    lift(target, artifact.base, marks)
    return True


def _checked(artifact: Artifact, file: FileRecord) -> Iterator[bytes]:
    """The file's content; its end is reached only if it is what the manifest says. Raises UserError, StoreError."""
    digest = hashlib.sha256()
    try:
        for chunk in artifact.store.chunks(f"{artifact.base}/{file.path}"):
            digest.update(chunk)
            yield chunk
    except FileNotFoundError:  # since the listing
        pass
    if (found := digest.hexdigest()) != file.sha256:
        raise UserError(
            f"{artifact.uri}/{file.path}: the file is damaged: expected sha256 {file.sha256}, found {found}."
            f" Say `instaflow artifacts verify {artifact.base} --store {artifact.store.url}`, run its recipe, then"
            " copy."
        )


def _is_there(artifact: Artifact, target: Store) -> bool:
    try:
        found = Artifact.open(target, artifact.stage, artifact.fingerprint)
    except ArtifactMissing:
        return False
    if found.digest != artifact.digest:
        raise UserError(
            f"{found.uri}: the same stage with another outcome (digest {found.digest[:12]}, here"
            f" {artifact.digest[:12]}): made on another machine or version. Copy to another store."
        )
    return why_redo(found) is None
