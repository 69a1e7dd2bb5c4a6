"""Running one stage: its identity, the cache, the one loop over its units, the manifest."""

from __future__ import annotations

import errno
import importlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from pydantic import JsonValue

from infra import stopping
from infra.artifact import Artifact, ArtifactMissing, Draft, Files, Folder, Pinned, Source, UnitsMissing
from infra.artifact.fingerprint import fingerprint
from infra.artifact.manifest import UnitRecord
from infra.artifact.redo import mark_damage, why_redo
from infra.environment import utc_now
from infra.errors import UserError
from infra.recipe import ASIDE, FILES, Section
from infra.store import Store
from tasks.progress import Progress
from tasks.sections import Performance
from tasks.stages import Extent, Group, Stage

Config = TypeVar("Config", bound=Section)
Units = Mapping[str, UnitRecord]
_ROUNDS = 10
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass
class Work(Generic[Config]):
    """What a stage works with: what it is told, what it reads, where it commits, how fast, and whom it tells."""

    stage: Stage
    config: Config
    inputs: Mapping[str, Source]
    out: Draft
    performance: Performance
    progress: Progress
    done: int = 0
    extent: Extent = field(init=False)

    def __post_init__(self) -> None:
        self.extent = self.stage.extent(self.config, self.inputs)

    def advance(self, pieces: int) -> None:
        """Tell the progress of so many more pieces. A safe point: raises Stopped when the work should end."""
        self.done += pieces
        self.progress(self.done, self.extent.pieces, self.extent.piece)
        stopping.check()


@dataclass(frozen=True)
class StageResult:
    """What a stage measured and which seeds it used; its files are in the draft's units."""

    metrics: Mapping[str, JsonValue] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)


class StageWork(ABC, Generic[Config]):
    """How a stage is done: make a group of its units, finish. It writes no manifest and loops over nothing itself."""

    def __init__(self, work: Work[Config]) -> None:
        self.work, self.config, self.inputs, self.out = work, work.config, work.inputs, work.out

    @abstractmethod
    def make(self, group: Group) -> None:
        """Commit the units of the group that are not there yet."""

    @abstractmethod
    def finish(self, units: Units) -> StageResult:
        """Put together what is merged from the units of all groups, and say what was measured."""


Make = Callable[[StageWork[Any], Group], None]
"""How a group of units is made: here, or by several processes (tasks/train/launch.py)."""


def here(doing: StageWork[Any], group: Group) -> None:
    """Make it in this process."""
    doing.make(group)


@dataclass(frozen=True)
class Named:
    """What a field names by path: a file or folder, or with `is_many` files on any store."""

    path: str
    is_many: bool

    def require(self) -> None:
        """Raise UserError for what is not there, without reading it. StoreError."""
        if self.is_many:
            Files.open(self.path)
        elif not Path(self.path).expanduser().exists():
            raise UserError(f"{self.path}: no such file or folder. Check the path; it starts at {Path.cwd()}.")

    def open(self) -> Pinned:
        """What lies there, by content. Raises UserError, StoreError."""
        return Files.open(self.path) if self.is_many else Folder.open(self.path)


def named_paths(config: Section, prefix: str = "") -> dict[str, Named]:
    """What the configuration names by path (weights, prompt files), by dotted field."""
    found: dict[str, Named] = {}
    for name, field_info in type(config).model_fields.items():
        value, kind = getattr(config, name), field_info.json_schema_extra
        if isinstance(value, Section):
            found |= named_paths(value, f"{prefix}{name}.")
        elif isinstance(value, str) and kind in (ASIDE, FILES):
            found[f"{prefix}{name}"] = Named(value, is_many=kind == FILES)
    return found


def named_files(stage: Stage, config: Section) -> dict[str, Pinned]:
    """What :func:`named_paths` finds: inputs by content. Raises UserError naming the recipe's field."""
    return {name: _open(named, f"{stage.told or stage.name}.{name}") for name, named in named_paths(config).items()}


def _open(named: Named, field: str) -> Pinned:
    try:
        return named.open()
    except UserError as error:
        raise UserError(f"{field}: {error}") from error


def stage_fingerprint(stage: Stage, config: Section, inputs: Mapping[str, Source]) -> str:
    """The identity of a stage's output: the fields that shape it and the digests of all it is made from."""
    return _identity(stage, config, {**inputs, **named_files(stage, config)})


def _identity(stage: Stage, config: Section, made_from: Mapping[str, Pinned]) -> str:
    digests = {role: _digest_read(stage, config, role, source) for role, source in made_from.items()}
    return fingerprint(stage.name, stage.version, config.identity(), digests)


def _digest_read(stage: Stage, config: Section, role: str, source: Pinned) -> str:
    """Of all that the stage reads of it."""
    if role not in stage.reads:
        return source.digest
    return cast(Source, source).digest_of(stage.inputs[role], stage.reads[role](config))


def find_cached(stage: Stage, config: Section, inputs: Mapping[str, Source], store: Store) -> Artifact | None:
    """The stage's committed artifact, None if there is none or it is to be redone (infra/artifact/redo.py).

    Raises StoreError: an outage is no miss.
    """
    found = _committed(stage, config, inputs, store)
    return None if found is None or why_redo(found) else found


def _committed(stage: Stage, config: Section, inputs: Mapping[str, Source], store: Store) -> Artifact | None:
    try:
        return Artifact.open(store, stage.name, stage_fingerprint(stage, config, inputs))
    except ArtifactMissing:
        return None


def run_stage(
    stage: Stage,
    config: Section,
    inputs: Mapping[str, Source],
    store: Store,
    performance: Performance,
    progress: Progress,
    make: Make = here,
) -> Artifact:
    """The stage's artifact: the committed one if there is any, else made now from the units that exist on."""
    committed = _committed(stage, config, inputs, store)
    if committed is not None:
        if why_redo(committed) is None:
            return committed
        mark_damage(committed)
    started_at, made_from = utc_now(), {**inputs, **named_files(stage, config)}
    with _room_for(stage.name), Draft(store, stage.name, _identity(stage, config, made_from)) as out:
        doing = work_class(stage)(Work(stage, config, inputs, out, performance, progress))
        for _ in range(_ROUNDS):
            with suppress(UnitsMissing):  # somebody has them redone meanwhile: back to work
                result = doing.finish(_every_unit(doing, make))
                return out.finish(
                    units=doing.work.extent.ids,
                    version=stage.version,
                    config=config.model_dump(mode="json"),
                    inputs=made_from,
                    metrics=result.metrics,
                    seeds=result.seeds,
                    started_at=started_at,
                )
        raise UserError(
            f"stage {stage.name}: units of {store.url}/{out.base} were made {_ROUNDS} times and are gone again. Does"
            " something delete from the store? Stop it, then run the same command again."
        )


def work_class(stage: Stage) -> type[StageWork[Any]]:
    """The class at "module:name", imported when there is work: a cached stage imports nothing."""
    module, _, name = stage.work.partition(":")
    found: type[StageWork[Any]] = getattr(importlib.import_module(module), name)
    return found


def _every_unit(doing: StageWork[Any], make: Make) -> Units:
    """The one loop over units: make the missing groups, then give the records of all expected ids.

    Each group is looked for again right before it is made: another worker may have made it meanwhile. Raises
    UnitsMissing when one that was there is gone at the end.
    """
    work, there = doing.work, doing.work.out.committed()
    expected = [unit.id for group in work.extent.groups for unit in group]
    if not there >= {*expected}:
        _begin(work, there)
        for group in work.extent.groups:
            if all(unit.id in there for unit in group):
                continue
            if all(unit.id in there or work.out.has(unit.id) for unit in group):
                work.advance(sum(unit.pieces for unit in group if unit.id not in there))
            else:
                make(doing, group)
    units = work.out.units()
    if missing := sorted({*expected} - units.keys()):
        raise UnitsMissing(f"{work.out.store.url}/{work.out.base}: not committed any more: {', '.join(missing)}")
    return {unit: units[unit] for unit in expected}


def _begin(work: Work[Any], there: Collection[str]) -> None:
    work.done = sum(unit.pieces for group in work.extent.groups for unit in group if unit.id in there)
    if not work.extent.phases:  # a training says itself from which step it goes on
        work.progress(work.done, work.extent.pieces, work.extent.piece)


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
