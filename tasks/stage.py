"""Running one stage: its identity, the cache, the one loop over its units, the manifest."""

from __future__ import annotations

import errno
import importlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from pydantic import JsonValue

from infra import stopping
from infra.artifact import Artifact, ArtifactMissing, Draft, Files, Folder, Pinned, Source, UnitsMissing
from infra.artifact.fingerprint import fingerprint
from infra.artifact.held import Held
from infra.artifact.manifest import UnitRecord
from infra.artifact.redo import intact, why_redo
from infra.environment import utc_now
from infra.errors import UserError
from infra.recipe import ASIDE, FILES, Section
from infra.store import Store
from tasks.device import device_used
from tasks.progress import Progress, silent
from tasks.sections import Performance
from tasks.share import Share
from tasks.stages import Extent, Group, Stage

Config = TypeVar("Config", bound=Section)
Units = Mapping[str, UnitRecord]
_ROUNDS = 10
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Behalf:
    """In whose name a stage is done: shown, and part of no identity."""

    recipe: str
    run: str
    teacher: str | None = None


@dataclass
class Work(Generic[Config]):
    """What a stage works with: what it is told, what it reads, where it commits, how fast, and whom it tells."""

    stage: Stage
    config: Config
    inputs: Mapping[str, Source]
    out: Draft
    performance: Performance
    progress: Progress
    behalf: Behalf | None = None
    done: int = 0
    total: int = 0
    """Pieces that this worker is to do, and those that were there before."""
    extent: Extent = field(init=False)

    def __post_init__(self) -> None:
        self.extent = self.stage.extent(self.config, self.inputs)

    def advance(self, pieces: int) -> None:
        """Tell the progress of so many more pieces. A safe point: raises Stopped when the work should end."""
        self.done += pieces
        self._tell()

    def expect(self, pieces: int) -> None:
        """Tell the progress of so many more that are to be done, or fewer: others did them. A safe point."""
        self.total += pieces
        self._tell()

    def _tell(self) -> None:
        self.progress(self.done, self.total, self.extent.piece)
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
    """What a field names by path: a file or folder here or of an artifact, or with `is_many` files on any store."""

    path: str
    is_many: bool

    def require(self) -> None:
        """Raise UserError for what is not there, without reading it. StoreError."""
        if self.is_many:
            Files.open(self.path)
        elif Held.at(self.path) is None and not Path(self.path).expanduser().exists():
            raise UserError(f"{self.path}: no such file or folder. Check the path; it starts at {Path.cwd()}.")

    def open(self) -> Pinned:
        """What lies there, by content. Raises UserError, StoreError."""
        return Files.open(self.path) if self.is_many else Held.at(self.path) or Folder.open(self.path)


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


def brought(config: Config) -> Config:
    """The configuration with what it names by the address of an artifact lying here. Raises UserError, StoreError."""
    update: dict[str, object] = {}
    for name, field_info in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Section):
            update[name] = brought(value)
        elif isinstance(value, str) and field_info.json_schema_extra == ASIDE and (held := Held.at(value)):
            update[name] = str(held.path)
    return config.model_copy(update=update)


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
    try:
        found = Artifact.open(store, stage.name, stage_fingerprint(stage, config, inputs))
    except ArtifactMissing:
        return None
    return None if why_redo(found) else found


@dataclass(frozen=True)
class Job:
    """One stage to be done: what it is told, what it reads, where its artifact goes, how fast, in whose name."""

    stage: Stage
    config: Section
    inputs: Mapping[str, Source]
    store: Store
    performance: Performance = Performance()
    make: Make = here
    behalf: Behalf | None = None

    def cached(self) -> Artifact | None:
        """Its committed artifact, None if there is none or it is to be redone. Raises StoreError."""
        return find_cached(self.stage, self.config, self.inputs, self.store)

    @property
    def made_from(self) -> dict[str, Pinned]:
        """All that its output depends on, by role or dotted field. Raises UserError, StoreError."""
        return {**self.inputs, **named_files(self.stage, self.config)}


def run_stage(
    stage: Stage,
    config: Section,
    inputs: Mapping[str, Source],
    store: Store,
    performance: Performance,
    progress: Progress,
    make: Make = here,
) -> Artifact:
    """The stage's artifact, as :func:`do_job` gives it."""
    return do_job(Job(stage, config, inputs, store, performance, make), progress)


def do_job(job: Job, progress: Progress) -> Artifact:
    """The stage's artifact: the committed one if there is any, else made now from the units that exist on."""
    if standing := _standing(job):
        return standing
    with _at_work(job, progress) as doing:
        for _ in range(_ROUNDS):
            with suppress(UnitsMissing):  # somebody has them redone meanwhile: back to work
                doing.make(doing.groups)
                return doing.finish()
        raise UserError(
            f"stage {job.stage.name}: units of {job.store.url}/{doing.out.base} were made {_ROUNDS} times and are gone"
            " again. Does something delete from the store? Stop it, then run the same command again."
        )


def make_share(job: Job, share: Share, progress: Progress) -> Artifact | None:
    """Make the groups of a share, and help the other shares; the artifact, if somebody has finished it.

    Else whoever gave the shares out does that.
    """
    if standing := _standing(job):
        return standing
    with _at_work(job, progress) as doing:
        doing.make(share.in_order(doing.groups), own=share.count(doing.groups))
    return None


def finish_stage(job: Job) -> Artifact:
    """The artifact of the stage all of whose groups were made by others. Raises UnitsMissing when they were not."""
    if standing := _standing(job):
        return standing
    with _at_work(job, silent) as doing:
        return doing.finish()


def _standing(job: Job) -> Artifact | None:
    """The committed artifact if it is to stay; that which is damaged is marked."""
    return intact(job.store, job.stage.name, stage_fingerprint(job.stage, job.config, job.inputs))


@dataclass
class _Doing:
    """A stage at work on its draft."""

    job: Job
    how: StageWork[Any]
    made_from: Mapping[str, Pinned]
    started_at: str

    @property
    def out(self) -> Draft:
        return self.how.out

    @property
    def groups(self) -> tuple[Group, ...]:
        return self.how.work.extent.groups

    def make(self, groups: Sequence[Group], own: int | None = None) -> None:
        """The one loop over units: make those of the groups that are missing.

        Each is looked for again right before it is made: another worker may have made it meanwhile. Progress counts
        what is made here, of the first `own` groups (None: of all) and of those that are made beside them.
        """
        work, there = self.how.work, self.out.committed()
        if all(unit.id in there for group in groups for unit in group):
            return
        _begin(work, groups[:own], there)
        for number, group in enumerate(groups):
            missing, is_own = [unit for unit in group if unit.id not in there], own is None or number < own
            if not missing:
                continue
            pieces, is_made = sum(unit.pieces for unit in missing), all(self.out.has(unit.id) for unit in missing)
            if is_made and is_own:
                work.expect(-pieces)
            elif not is_made and not is_own:
                work.expect(pieces)
            if not is_made:
                self.job.make(self.how, group)
        self.out.wait()

    def finish(self) -> Artifact:
        """Put together what is merged, and write the manifest. Raises UnitsMissing when one is not there."""
        result = self.how.finish(self._units())
        return self.out.finish(
            units=self.how.work.extent.ids,
            version=self.job.stage.version,
            config=self.job.config.model_dump(mode="json"),
            inputs=self.made_from,
            metrics=result.metrics,
            seeds=result.seeds,
            started_at=self.started_at,
        )

    def _units(self) -> Units:
        """The records of all groups' units."""
        expected, units = [unit.id for group in self.groups for unit in group], self.out.units()
        if missing := sorted({*expected} - units.keys()):
            raise UnitsMissing(f"{self.out.store.url}/{self.out.base}: not committed any more: {', '.join(missing)}")
        return {unit: units[unit] for unit in expected}


@contextmanager
def _at_work(job: Job, progress: Progress) -> Iterator[_Doing]:
    started_at, made_from = utc_now(), job.made_from
    identity = _identity(job.stage, job.config, made_from)
    with _room_for(job.stage.name), Draft(job.store, job.stage.name, identity, device_used) as out:
        work = Work(job.stage, brought(job.config), job.inputs, out, job.performance, progress, job.behalf)
        yield _Doing(job, work_class(job.stage)(work), made_from, started_at)


def work_class(stage: Stage) -> type[StageWork[Any]]:
    """The class at "module:name", imported when there is work: a cached stage imports nothing."""
    module, _, name = stage.work.partition(":")
    found: type[StageWork[Any]] = getattr(importlib.import_module(module), name)
    return found


def _begin(work: Work[Any], groups: Sequence[Group], there: Collection[str]) -> None:
    units = [unit for group in groups for unit in group]
    work.total = sum(unit.pieces for unit in units)
    work.done = sum(unit.pieces for unit in units if unit.id in there)
    if not work.extent.phases:  # a training says itself from which step it goes on
        work.progress(work.done, work.total, work.extent.piece)


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
