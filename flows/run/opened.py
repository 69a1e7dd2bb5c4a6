"""The artifacts that a run has opened: only their addresses go through Prefect, and a process reads each once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from infra.artifact import Artifact, ArtifactMissing, Source, base_of
from infra.artifact.redo import why_redo
from infra.recipe import Section
from infra.store import Store
from tasks.stage import stage_fingerprint
from tasks.stages import Stage


@dataclass
class _Opened:
    """Artifacts by URI, and the URIs of those that need not be looked at again before they are taken."""

    artifacts: dict[str, Artifact] = field(default_factory=dict)
    sound: set[str] = field(default_factory=set)


_opened: ContextVar[_Opened | None] = ContextVar("opened", default=None)


@contextmanager
def remembering() -> Iterator[None]:
    """In this block, and in those within it, what was opened is not read again."""
    if _opened.get() is not None:
        yield
        return
    token = _opened.set(_Opened())
    try:
        yield
    finally:
        _opened.reset(token)


def remember(artifact: Artifact) -> Artifact:
    """The artifact, which :func:`find` gives from now on."""
    if opened := _opened.get():
        opened.artifacts[artifact.uri] = artifact
    return artifact


def forget(uri: str) -> None:
    """Have what lies there read again: it may have been replaced."""
    if opened := _opened.get():
        opened.artifacts.pop(uri, None)
        opened.sound.discard(uri)


def take(sound: Collection[Artifact]) -> None:
    """Take these as they are for the rest of the block, and read all others again."""
    if opened := _opened.get():
        opened.artifacts = {one.uri: one for one in sound}
        opened.sound = {*opened.artifacts}


def find(store: Store, ref: str) -> Artifact:
    """As :meth:`Artifact.find`, without reading what was opened before."""
    uri = ref if ref.count("/") > 1 else f"{store.url}/{ref}"
    opened = _opened.get()
    return (opened and opened.artifacts.get(uri)) or remember(Artifact.find(store, ref))


def committed(stage: Stage, config: Section, inputs: Mapping[str, Source], store: Store) -> Artifact | None:
    """What the stage has made of these, whole or not; None where there is no manifest. Raises UserError, StoreError."""
    fingerprint = stage_fingerprint(stage, config, inputs)
    opened = _opened.get()
    if opened and (known := opened.artifacts.get(f"{store.url}/{base_of(stage.name, fingerprint)}")):
        return known
    try:
        return remember(Artifact.open(store, stage.name, fingerprint))
    except ArtifactMissing:
        return None


def cached(stage: Stage, config: Section, inputs: Mapping[str, Source], store: Store) -> Artifact | None:
    """As :func:`tasks.stage.find_cached`, without asking again about what was taken. Raises UserError, StoreError."""
    found = committed(stage, config, inputs, store)
    opened = _opened.get()
    if found is None or (opened and found.uri in opened.sound) or why_redo(found) is None:
        return found
    forget(found.uri)
    return None
