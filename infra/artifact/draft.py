"""The commit protocol: blobs under content-hash names, then the unit record, then the manifest.

Readers trust only manifests. A writer killed between any two steps leaves at worst a blob nobody names; two
writers of the same fingerprint waste time and agree.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path

from pydantic import JsonValue

from infra.artifact.artifact import MANIFEST, Artifact, base_of, local_tree, read_units
from infra.artifact.behind import Behind
from infra.artifact.cache import fetch, keep
from infra.artifact.fingerprint import canonical_json, digest_of_hashes, sha256_file, tree_files
from infra.artifact.generation import Generation
from infra.artifact.killpoint import reached
from infra.artifact.manifest import NAME, FileRecord, InputRecord, Manifest, Metric, Part, UnitRecord
from infra.artifact.redo import path_of
from infra.artifact.source import Pinned
from infra.artifact.workdir import WorkFolder
from infra.environment import environment, utc_now
from infra.errors import UserError
from infra.store import Store
from infra.store.at_once import at_once

_HASH_DIGITS = 12
_FILES_AT_ONCE = 4
_log = logging.getLogger(__name__)


class UnitsMissing(UserError):
    """A unit that was committed is gone: somebody deletes from the store."""


class Draft:
    """An artifact being made: units are committed one by one, `finish` makes it an artifact.

    It belongs to one generation, that of its first question to the store. `device` tells at each commit what computed:
    a GPU's name, "CPU"; it is recorded with host and versions. A context manager: leaving it removes the local work
    folder, never anything in the store.
    """

    def __init__(
        self, store: Store, stage: str, fingerprint: str, device: Callable[[], str | None] = lambda: None
    ) -> None:
        self.store, self.stage, self.fingerprint, self._device = store, stage, fingerprint, device
        self.base = base_of(stage, fingerprint)
        self._seen: dict[str, UnitRecord] = {}
        self._lost: set[str] = set()
        self._folder: WorkFolder | None = None
        self._behind = Behind()

    def __reduce__(self) -> tuple[Callable[..., Draft], tuple[Store, str, str, Generation]]:
        """For another process that commits to the same generation."""
        return _again, (self.store, self.stage, self.fingerprint, self.generation)

    @cached_property
    def generation(self) -> Generation:
        """Which making of the artifact this is. Raises UserError for a damaged manifest, StoreError."""
        return Generation.of(self.store, self.stage, self.fingerprint)

    @property
    def place(self) -> str:
        """The folder of unit records and checkpoints, which are the generation's own."""
        return self.generation.folder(self.base)

    @property
    def workdir(self) -> Path:
        """A temporary folder on the local disk in which blobs are built."""
        if self._folder is None:
            self._folder = WorkFolder(self.stage)
        return self._folder.path

    def close(self) -> None:
        """Let what is being committed behind end, and remove the work folder."""
        self._behind.close()
        if self._folder is not None:
            self._folder.close()
        self._folder = None

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def behind(self, commit: Callable[[], object]) -> None:
        """Have a unit committed while the caller makes the next one; the one before is waited for.

        Its failure is raised by the next call, by `units` or by `finish`.
        """
        self._behind.do(commit)

    def wait(self) -> None:
        """Until what was given to `behind` is committed. Raises what that failed with."""
        self._behind.wait()

    def units(self) -> dict[str, UnitRecord]:
        """Committed units by id, sorted; one with a blob missing or of another size is left out."""
        self._behind.wait()
        place, sizes = self.place, self.store.sizes(self.base)

        def whole(unit: UnitRecord) -> bool:
            return all(sizes.get(f"{self.base}/{file.path}") == file.bytes for file in unit.files)

        for name, unit in self._recorded(place, sizes).items():
            if not whole(unit):  # another run may have replaced it since: the record is read again
                self._seen.pop(self._record_of(name), None)
        known = {**self.generation.kept, **self._recorded(place, sizes)}
        found = {name: known[name] for name in sorted(known) if whole(known[name])}
        self._lost = self._named(place, sizes) - found.keys()
        return found

    def committed(self) -> set[str]:
        """Ids of the units, as far as one listing tells: no record is read, and none that `units` found torn counts."""
        self._behind.wait()
        return self._named(self.place, self.store.list(f"{self.place}/units")) - self._lost

    def has(self, unit: str) -> bool:
        """Whether the unit has been committed by now, by whomever: the store is asked again."""
        record = self._record_of(unit)
        self._seen.pop(record, None)
        self._seen |= read_units(self.store, [record])
        found = self._seen.get(record) or self.generation.kept.get(unit)
        return found is not None and all(
            self.store.size(f"{self.base}/{file.path}") == file.bytes for file in found.files
        )

    def _recorded(self, place: str, paths: Iterable[str]) -> dict[str, UnitRecord]:
        names = _records(place, paths)
        self._seen |= read_units(self.store, [path for path in names if path not in self._seen])
        return {unit.unit: unit for path in names if (unit := self._seen.get(path))}

    def _named(self, place: str, paths: Iterable[str]) -> set[str]:
        return {
            *self.generation.kept,
            *(path.rpartition("/")[2].removesuffix(".json") for path in _records(place, paths)),
        }

    def _record_of(self, unit: str) -> str:
        return f"{self.place}/units/{unit}.json"

    def keep(self, file: FileRecord, local: Path) -> None:
        """Spare `fetch` the download of a blob that was committed from this file. Raises UserError."""
        keep(self.store, self.base, file, local)

    def fetch(self, file: FileRecord) -> Path:
        """A local, verified copy of a blob that a unit has committed."""
        return fetch(self.store, self.base, file)

    def folder(self, name: str) -> Path:
        """The local folder of a tree blob that a unit has committed, every file verified. Raises UnitsMissing."""
        files = [file for unit in self.units().values() for file in unit.files]
        if not any(file.name.startswith(f"{name}/") for file in files):
            raise UnitsMissing(f"{self.store.url}/{self.base}: no unit with the folder {name} is committed any more")
        return local_tree(files, name, self.base, self.fetch)

    def commit_unit(
        self,
        unit: str,
        blobs: Mapping[str, Path],
        *,
        rows: int = 0,
        seconds: float = 0.0,
        metrics: Mapping[str, Metric] | None = None,
        volatile: Iterable[str] = (),
        blob_rows: Mapping[str, int] | None = None,
    ) -> UnitRecord:
        """Put the blobs (logical name -> local file or folder), then the record that says so.

        `rows` counts samples (summed over the units), `blob_rows` the rows of single blobs and defaults to
        `rows` for a lone file; blobs named in `volatile` hold timings, or show what others hold: they are outside the
        digest. Raises StoreError.
        """
        assert NAME.fullmatch(unit), f"a unit id is letters, digits, dot, dash and underscore: {unit!r}"
        counts = dict(blob_rows or ({next(iter(blobs)): rows} if len(blobs) == 1 and rows else {}))
        files: list[FileRecord] = []
        for name, local in blobs.items():
            for record, path in _plan(name, local, rows=counts.get(name), volatile=name in set(volatile)):
                self._upload(record, path)
                files.append(record)
        return self._recorded_now(
            UnitRecord(
                unit=unit,
                files=files,
                rows=rows,
                seconds=seconds,
                metrics=dict(metrics or {}),
                environment=self._environment(),
            )
        )

    def commit_tree(self, name: str, folder: Path, sent: Callable[[int], object]) -> UnitRecord:
        """Put a whole folder as the unit `name`, files at once and only those that are not there, then its record.

        `sent` is told the bytes of each file. What is there is believed if this is the first making and its size fits:
        its name holds the hash of the whole folder. Raises StoreError.
        """
        there = {} if self.generation.marks else self.store.sizes(self.base)

        def put(one: tuple[FileRecord, Path]) -> FileRecord:
            record, path = one
            if there.get(f"{self.base}/{record.path}") != record.bytes:
                self._upload(record, path)
            return record

        files: list[FileRecord] = []
        for record in at_once(put, _plan(name, folder, rows=None, volatile=False), _FILES_AT_ONCE):
            files.append(record)
            sent(record.bytes)
        return self._recorded_now(UnitRecord(unit=name, files=files, environment=self._environment()))

    def _upload(self, record: FileRecord, path: Path) -> None:
        reached(self.stage, "blob", record.name)
        self.store.upload(path, f"{self.base}/{record.path}")

    def _recorded_now(self, done: UnitRecord) -> UnitRecord:
        reached(self.stage, "unit", done.unit)
        where = self._record_of(done.unit)
        self.store.write(where, done.to_bytes())
        self._seen[where] = done
        self._lost.discard(done.unit)
        reached(self.stage, "unit-done", done.unit)
        return done

    def finish(
        self,
        units: Collection[str],
        version: int,
        config: Mapping[str, JsonValue],
        inputs: Mapping[str, Pinned],
        metrics: Mapping[str, JsonValue],
        seeds: Mapping[str, int],
        started_at: str,
    ) -> Artifact:
        """Write the manifest over the units with these ids, then drop this generation's checkpoints and marks.

        What another run of this generation or of a later one has finished meanwhile stays, and is the result. Raises
        UnitsMissing when not all of them are there, StoreError.
        """
        records = self._records(units)
        finished_at = utc_now()
        wall = (datetime.fromisoformat(finished_at) - datetime.fromisoformat(started_at)).total_seconds()
        environments = [
            *{canonical_json(one.environment): one.environment for one in records if one.environment}.values()
        ]
        manifest = Manifest(
            schema_version=1,
            stage=self.stage,
            version=version,
            fingerprint=self.fingerprint,
            config=dict(config),
            inputs=[InputRecord(role=role, uri=at.uri, digest=at.digest) for role, at in sorted(inputs.items())],
            files=_merged(file for record in records for file in record.files),
            units=[_part(record, environments) for record in records],
            redone=self.generation.answered,
            rows=sum(record.rows for record in records),
            metrics=dict(metrics),
            seeds=dict(seeds),
            environment=self._environment(),
            environments=environments,
            started_at=started_at,
            finished_at=finished_at,
            seconds=max(wall, sum(record.seconds for record in records)),
        )
        reached(self.stage, "manifest")
        made = self._put(manifest)
        reached(self.stage, "manifest-done")
        self._clear()
        return made

    def _environment(self) -> dict[str, str]:
        device = self._device()
        return environment() | ({"device": device} if device else {})

    def _records(self, units: Collection[str]) -> list[UnitRecord]:
        found = self.units()
        if missing := sorted({*units} - found.keys()):
            raise UnitsMissing(f"{self.store.url}/{self.base}: not committed any more: {', '.join(missing)}")
        return [found[unit] for unit in sorted(units)]

    def _clear(self) -> None:
        """Drop what only an unfinished artifact needs: nothing of another generation's."""
        marks = [path_of(self.base, mark) for mark in sorted(self.generation.marks)]
        for path in [*self.store.list(f"{self.place}/checkpoints"), *marks]:
            self.store.delete(path)
            reached(self.stage, "deleted", path.removeprefix(f"{self.base}/"))
        self.close()

    def _put(self, manifest: Manifest) -> Artifact:
        """Write the manifest unless there is one of this generation or a later one: then that is the result."""
        path = f"{self.base}/{MANIFEST}"
        made = Artifact(self.store, self.base, manifest)
        # asked first, for a store may not know how to create a file only if there is none
        if not self.store.exists(path) and self.store.create(path, manifest.to_bytes()):
            return made
        first = Artifact.open(self.store, self.stage, self.fingerprint)
        if first.manifest.generation < manifest.generation:
            self.store.write(path, manifest.to_bytes())
            return made
        if first.digest != made.digest:
            _log.warning("%s: another run was first, with other bytes; its result is kept", first.uri)
        return first


def _again(store: Store, stage: str, fingerprint: str, generation: Generation) -> Draft:
    draft = Draft(store, stage, fingerprint)
    draft.generation = generation
    return draft


def _plan(name: str, local: Path, *, rows: int | None, volatile: bool) -> list[tuple[FileRecord, Path]]:
    """The records of one blob beside the local files they describe."""

    def record(path: str, file: Path, sha256: str) -> FileRecord:
        return FileRecord(path=path, sha256=sha256, bytes=file.stat().st_size, rows=rows, volatile=volatile)

    if local.is_dir():
        files = tree_files(local)
        hashes = {relative: sha256_file(file) for relative, file in files.items()}
        root = f"data/{name}-{digest_of_hashes(hashes)[:_HASH_DIGITS]}"
        return [(record(f"{root}/{relative}", file, hashes[relative]), file) for relative, file in files.items()]
    sha256, logical = sha256_file(local), Path(name)
    path = f"data/{logical.stem}-{sha256[:_HASH_DIGITS]}{logical.suffix}"
    return [(record(path, local, sha256), local)]


def _records(place: str, paths: Iterable[str]) -> list[str]:
    return [path for path in paths if path.startswith(f"{place}/units/") and path.endswith(".json")]


def _part(unit: UnitRecord, environments: list[dict[str, str]]) -> Part:
    return Part(
        unit=unit.unit,
        files=[file.path for file in unit.files],
        rows=unit.rows,
        seconds=unit.seconds,
        metrics=unit.metrics,
        environment=environments.index(unit.environment) if unit.environment else None,
    )


def _merged(files: Iterable[FileRecord]) -> list[FileRecord]:
    found = {file.path: file for file in files}
    names = [file.name for file in found.values()]
    assert len(names) == len(set(names)), "two units of one stage committed different blobs under one name"
    return [found[path] for path in sorted(found)]
