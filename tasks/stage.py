"""Running one stage: its identity, the cache, the work, the manifest."""

from __future__ import annotations

import errno
import functools
import importlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from pydantic import JsonValue

from infra.artifact import Artifact, ArtifactMissing, Draft, Folder, Source
from infra.environment import utc_now
from infra.errors import UserError
from infra.fingerprint import fingerprint
from infra.recipe import ASIDE, Performance, Section
from infra.redo import why_redo
from infra.store import Store
from tasks.progress import Progress

_Config = TypeVar("_Config", bound=Section)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_Taken = TypeVar("_Taken", bound=Section, contravariant=True)


@dataclass(frozen=True)
class StageResult:
    """What a stage measured and which seeds it used; its files are in the draft's units."""

    metrics: Mapping[str, JsonValue] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)


class StageFunction(Protocol[_Taken]):
    """Does the units that `out` lacks and commits each; writes no manifest."""

    def __call__(
        self,
        config: _Taken,
        inputs: Mapping[str, Source],
        out: Draft,
        perf: Performance,
        progress: Progress,
        /,
    ) -> StageResult: ...


def entry_point(path: str) -> StageFunction[Any]:
    """The stage function at "module:name", imported when it is called: a cached stage imports nothing."""

    def call(
        config: Section, inputs: Mapping[str, Source], out: Draft, perf: Performance, progress: Progress, /
    ) -> StageResult:
        module, _, name = path.partition(":")
        function: StageFunction[Section] = getattr(importlib.import_module(module), name)
        return function(config, inputs, out, perf, progress)

    return call


def named_files(config: Section, prefix: str = "") -> dict[str, Folder]:
    """What the configuration names by path (weights, prompt files), by dotted field: inputs by content."""
    found: dict[str, Folder] = {}
    for name, field_info in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Section):
            found |= named_files(value, f"{prefix}{name}.")
        elif isinstance(value, str) and field_info.json_schema_extra == ASIDE:
            found[f"{prefix}{name}"] = _open(value, f"{prefix}{name}")
    return found


def _open(path: str, name: str) -> Folder:
    try:
        return _hashed(path)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


@functools.cache  # weights may be gigabytes; a process reads them once
def _hashed(path: str) -> Folder:
    return Folder.open(path)


def stage_fingerprint(name: str, version: int, config: Section, inputs: Mapping[str, Source]) -> str:
    """The identity of a stage's output: the fields that shape it and the digests of all it is made from."""
    digests = {role: source.digest for role, source in {**inputs, **named_files(config)}.items()}
    return fingerprint(name, version, config.identity(), digests)


def find_cached(
    name: str, version: int, config: Section, inputs: Mapping[str, Source], store: Store
) -> Artifact | None:
    """The stage's committed artifact, None if there is none or it is to be redone (infra/redo.py).

    Raises StoreError: an outage is no miss.
    """
    try:
        found = Artifact.open(store, name, stage_fingerprint(name, version, config, inputs))
    except ArtifactMissing:
        return None
    return None if why_redo(found) else found


def run_stage(
    name: str,
    version: int,
    function: StageFunction[_Config],
    config: _Config,
    inputs: Mapping[str, Source],
    store: Store,
    perf: Performance,
    progress: Progress,
) -> Artifact:
    """The stage's artifact: the committed one if there is any, else made now from the units that exist on."""
    if (cached := find_cached(name, version, config, inputs, store)) is not None:
        return cached
    started_at = utc_now()
    with _room_for(name), Draft(store, name, stage_fingerprint(name, version, config, inputs)) as out:
        result = function(config, inputs, out, perf, progress)
        return out.finish(
            version=version,
            config=config.model_dump(mode="json"),
            inputs={**inputs, **named_files(config)},
            metrics=result.metrics,
            seeds=result.seeds,
            started_at=started_at,
        )


@contextmanager
def _room_for(stage: str) -> Iterator[None]:
    """Say what to do when the disk of the work in progress is full; the store speaks for its own."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise UserError(
            f"stage {stage}: no room for the work in progress in {tempfile.gettempdir()}: {error.strerror or error}."
            " Free some or set TMPDIR to a folder on a larger disk; what is committed is kept, so the same command goes"
            " on from there."
        ) from error
