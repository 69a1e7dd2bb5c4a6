"""Copying an artifact to another store, with all it was made from; the manifest comes last, as ever."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path

from infra.artifact import MANIFEST, Artifact, ArtifactMissing
from infra.artifact.fingerprint import sha256_file
from infra.artifact.manifest import FileRecord
from infra.artifact.redo import why_redo
from infra.artifact.workdir import WorkFolder
from infra.errors import UserError
from infra.store import Store
from infra.store.at_once import at_once
from infra.upkeep.inventory import inputs_of

FILES_AT_ONCE = 4
"""Files that are copied at the same time; each takes its size in TMPDIR until it is there."""


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

    A copy that was interrupted goes on. Raises UserError for a damaged source and for another artifact of the same
    name in `target`, StoreError.
    """
    if reason := why_redo(artifact):
        raise UserError(f"{artifact.uri}: {reason}: it is to be redone first. Run its recipe, then copy.")
    if _is_there(artifact, target):
        return False
    there, files = target.sizes(artifact.base), artifact.manifest.files
    with WorkFolder("cp") as folder:

        def bring(file: FileRecord) -> int:
            if there.get(f"{artifact.base}/{file.path}") != file.bytes:
                _bring(artifact, file, target, folder)
            return file.bytes

        for size in at_once(bring, files, FILES_AT_ONCE):
            copied(size)
    if not artifact.manifest.units:  # of an older version: its records let the copy be repaired by unit
        units = artifact.store.read_many(artifact.store.list(f"{artifact.base}/units"))
        deque(at_once(lambda path: target.write(path, units[path]), units), maxlen=0)
    manifest = f"{artifact.base}/{MANIFEST}"
    target.write(manifest, artifact.store.read(manifest))
    return True


def _bring(artifact: Artifact, file: FileRecord, target: Store, folder: Path) -> None:
    """Put one file into `target`, checked; on the way it takes its size in `folder`, not in the cache."""
    path = f"{artifact.base}/{file.path}"
    local = artifact.store.local_path(path)
    scratch = folder / uuid.uuid4().hex
    try:
        if local is None:
            artifact.store.download(path, scratch)
        found = sha256_file(local or scratch)
        if found != file.sha256:
            raise UserError(
                f"{artifact.uri}/{file.path}: the file is damaged: expected sha256 {file.sha256}, found {found}."
                f" Say `instaflow artifacts verify {artifact.base} --store {artifact.store.url}`, run its recipe, then"
                " copy."
            )
        target.upload(local or scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


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
