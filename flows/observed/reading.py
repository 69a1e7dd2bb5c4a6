"""What is in a store, read once: one listing, then every manifest, record and reference, all of them at the same time.

Whatever does not parse is kept as damaged, with what is wrong: a dashboard shows it, and the rest all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TypeVar

from pydantic import ValidationError

from infra.artifact import MANIFEST, Artifact
from infra.artifact.manifest import BASE, Record
from infra.artifact.names import NAMES, NameRecord, Naming, is_name
from infra.artifact.redo import Redo, marks_among
from infra.errors import UserError
from infra.store import Store
from infra.upkeep.inventory import Pin
from infra.upkeep.runs import Begun, Ref, RunRecord
from infra.upkeep.verify import VERIFIED, Verified

_R = TypeVar("_R", bound=Record)


@dataclass(frozen=True)
class Damaged:
    """A file that is not what it should be."""

    path: str
    problem: str


@dataclass(frozen=True)
class Seen:
    """A store at one moment."""

    store: Store
    now: datetime
    sizes: Mapping[str, int]
    """Bytes of every file."""
    artifacts: Mapping[str, Artifact]
    """By stage/fingerprint."""
    unfinished: Sequence[str]
    """stage/fingerprint of what has units or checkpoints, and no manifest."""
    marks: Mapping[str, Sequence[Redo]]
    """What is to be made again, by stage/fingerprint."""
    runs: Sequence[RunRecord]
    """The newest first."""
    refs: Mapping[tuple[str, str], Ref]
    """By recipe and id of the stage."""
    begun: Mapping[tuple[str, str], Begun]
    """By recipe and id of the stage."""
    pins: Mapping[str, Pin]
    """By stage/fingerprint."""
    names: Mapping[str, NameRecord]
    """What people call artifacts, by name."""
    verified: Mapping[str, Verified]
    """When every byte of it was last read and found right, by stage/fingerprint: of those that are as they were."""
    damaged: Sequence[Damaged]
    """Manifests and records that do not parse."""

    @cached_property
    def broken(self) -> Mapping[str, str]:
        """What is wrong with a manifest, by stage/fingerprint."""
        return {
            one.path.removesuffix(f"/{MANIFEST}"): one.problem
            for one in self.damaged
            if one.path.endswith(f"/{MANIFEST}")
        }

    @cached_property
    def wanted(self) -> Mapping[str, Sequence[str]]:
        """By stage/fingerprint: the recipes whose last run made, used or began it."""
        found: dict[str, dict[str, None]] = {}
        for (recipe, _), ref in self.refs.items():
            found.setdefault(ref.artifact, {})[recipe] = None
        for (recipe, _), begun in self.begun.items():
            for base in (begun.artifact, *begun.inputs):
                found.setdefault(base, {})[recipe] = None
        return {base: [*recipes] for base, recipes in found.items()}

    @cached_property
    def named(self) -> Mapping[str, Mapping[str, Naming]]:
        """By stage/fingerprint: what the artifact is called now, and since when."""
        found: dict[str, dict[str, Naming]] = {}
        for name, record in sorted(self.names.items()):
            found.setdefault(record.now.artifact, {})[name] = record.now
        return found

    @cached_property
    def run_by_id(self) -> Mapping[str, RunRecord]:
        """Every run by its name."""
        return {run.run_id: run for run in self.runs}

    def lacks(self, artifact: Artifact) -> Sequence[Damaged]:
        """The artifact's files that are gone, or have another size than its manifest says."""
        found = ((file, self.sizes.get(f"{artifact.base}/{file.path}")) for file in artifact.manifest.files)
        return [
            Damaged(file.path, "is missing" if size is None else f"has {size} bytes instead of {file.bytes}")
            for file, size in found
            if size != file.bytes
        ]


def read(store: Store, now: datetime) -> Seen:
    """What is in the store at this moment. Raises StoreError."""
    sizes = store.sizes()
    bases = _bases(sizes)
    damaged: list[Damaged] = []
    artifacts = _artifacts(store, [base for base in bases if f"{base}/{MANIFEST}" in sizes], damaged)
    records = _Records(store, sizes, damaged)
    runs = records.of("runs", 1, RunRecord, _is_whole)
    known = {base: artifact.manifest.redone for base, artifact in artifacts.items()}
    answered = {one.path.removesuffix(f"/{MANIFEST}") for one in damaged}
    return Seen(
        store=store,
        now=now,
        sizes=sizes,
        artifacts=artifacts,
        unfinished=[base for base in bases if base not in artifacts and base not in answered],
        marks=marks_among(store, sizes, known),
        runs=sorted(runs.values(), key=lambda run: (run.started_at, run.run_id), reverse=True),
        refs={(path[0], path[1]): one for path, one in records.of("refs", 2, Ref).items()},
        begun={(path[0], path[1]): one for path, one in records.of("begun", 2, Begun).items()},
        pins={one.artifact: one for one in records.of("pins", 2, Pin).values()},
        names={path[0]: one for path, one in records.of(NAMES, 1, NameRecord, _is_of_a_name).items()},
        verified=_verified(store, sizes, artifacts),
        damaged=damaged,
    )


def _verified(store: Store, paths: Container[str], artifacts: Mapping[str, Artifact]) -> dict[str, Verified]:
    """A record that does not parse says nothing, and does no harm."""
    there = {f"{base}/{VERIFIED}": one for base, one in artifacts.items() if f"{base}/{VERIFIED}" in paths}
    found: dict[str, Verified] = {}
    for path, data in store.read_many([*there]).items():
        with suppress(ValidationError):
            record = Verified.model_validate_json(data)
            if record.is_of(there[path]):
                found[there[path].base] = record
    return found


def _is_of_a_name(path: tuple[str, ...], _: NameRecord) -> bool:
    return is_name(path[0])


def _is_whole(path: tuple[str, ...], run: RunRecord) -> bool:
    """Whether a record lies where its run's would, and its times are some."""
    try:
        times = [datetime.fromisoformat(time) for time in (run.started_at, run.finished_at, run.heartbeat_at) if time]
    except ValueError:
        return False
    return path == (run.run_id,) and all(time.tzinfo for time in times)


def _bases(paths: Iterable[str]) -> list[str]:
    """The folders that are artifacts or are becoming some, sorted."""
    found = dict.fromkeys("/".join(path.split("/", 2)[:2]) for path in paths if path.count("/") > 1)
    return sorted(base for base in found if BASE.fullmatch(base))


def _artifacts(store: Store, bases: Sequence[str], damaged: list[Damaged]) -> dict[str, Artifact]:
    read = store.read_many([f"{base}/{MANIFEST}" for base in bases])
    found: dict[str, Artifact] = {}
    for path, data in read.items():
        stage, fingerprint, _ = path.split("/")
        try:
            artifact = Artifact.of(store, stage, fingerprint, data)
        except UserError as error:
            damaged.append(Damaged(path, str(error)))
        else:
            found[artifact.base] = artifact
    return found


@dataclass(frozen=True)
class _Records:
    """Reads records by the folder they lie in."""

    store: Store
    sizes: Mapping[str, int]
    damaged: list[Damaged]

    def of(
        self,
        folder: str,
        depth: int,
        kind: type[_R],
        fits: Callable[[tuple[str, ...], _R], bool] = lambda path, record: True,
    ) -> dict[tuple[str, ...], _R]:
        """Those of a folder, so many levels below it, by the parts of their path; damaged ones are noted."""
        paths = [
            path
            for path in self.sizes
            if path.startswith(f"{folder}/") and path.endswith(".json") and path.count("/") == depth
        ]
        found: dict[tuple[str, ...], _R] = {}
        for path, data in self.store.read_many(paths).items():
            parts = tuple(path.removesuffix(".json").split("/")[1:])
            try:
                record = kind.model_validate_json(data)
            except ValidationError as error:
                first = error.errors()[0]
                field = ".".join(map(str, first["loc"])) or "the whole file"
                self.damaged.append(Damaged(path, f"is no record of this version: {field}: {first['msg']}"))
                continue
            if fits(parts, record):
                found[parts] = record
            else:
                self.damaged.append(Damaged(path, "is the record of something else"))
        return found
