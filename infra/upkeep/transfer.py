"""Copying an artifact to another store, with all it was made from; the manifest comes last, as ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from infra.artifact import MANIFEST, Artifact, ArtifactMissing
from infra.artifact.redo import why_redo
from infra.errors import UserError
from infra.store import Store
from infra.upkeep.inventory import inputs_of


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
    there = target.sizes(artifact.base)
    for file in artifact.manifest.files:
        path = f"{artifact.base}/{file.path}"
        if there.get(path) != file.bytes:
            target.upload(artifact.fetch(file), path)
        copied(file.bytes)
    for path in _small(artifact):
        target.write(path, artifact.store.read(path))
    return True


def _small(artifact: Artifact) -> Iterator[str]:
    """The records, manifest last: unit records let the copy be repaired unit by unit."""
    yield from artifact.store.list(f"{artifact.base}/units")
    yield f"{artifact.base}/{MANIFEST}"


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
