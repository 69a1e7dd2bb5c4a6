"""A finished artifact: what its manifest names, and nothing else."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

from infra.address import require_public
from infra.artifact.cache import fetch
from infra.artifact.fingerprint import SHORT, digest_of_hashes
from infra.artifact.manifest import NAME, FileRecord, Manifest, UnitRecord
from infra.artifact.names import NAMES, Naming, read_name
from infra.errors import UserError
from infra.store import Store, open_store

MANIFEST = "manifest.json"
_log = logging.getLogger(__name__)


class ArtifactMissing(UserError, FileNotFoundError):
    """No manifest there: the stage has not been finished."""


def base_of(stage: str, fingerprint: str) -> str:
    """The folder of an artifact in its store."""
    return f"{stage}/{fingerprint[:SHORT]}"


class Artifact:
    """A committed artifact: everything in its manifest is in the store."""

    def __init__(self, store: Store, base: str, manifest: Manifest) -> None:
        self.store, self.base, self.manifest = store, base, manifest
        self.stage, self.fingerprint = manifest.stage, manifest.fingerprint
        self.uri = f"{store.url}/{base}"
        self.digest = manifest.digest

    @classmethod
    def open(cls, store: Store, stage: str, fingerprint: str) -> Artifact:
        """Read the manifest of `stage` at `fingerprint` (at least 16 hex digits).

        Raises ArtifactMissing if there is none, UserError if it is damaged or another's, StoreError if the store fails.
        """
        base = base_of(stage, fingerprint)
        path = f"{base}/{MANIFEST}"
        try:
            data = store.read(path)
        except FileNotFoundError as error:
            raise ArtifactMissing(
                f"{store.url}/{base}: no {MANIFEST}: this artifact was not finished. Run the stage {stage}."
            ) from error
        return cls.of(store, stage, fingerprint, data)

    @classmethod
    def of(cls, store: Store, stage: str, fingerprint: str, manifest: bytes) -> Artifact:
        """The artifact whose manifest was read already. Raises UserError if it is damaged or another's."""
        base = base_of(stage, fingerprint)
        where = f"{store.url}/{base}/{MANIFEST}"
        found = Manifest.from_bytes(manifest, where)
        _require_own(found, stage, fingerprint, where)
        return cls(store, base, found)

    @classmethod
    def find(cls, store: Store, ref: str) -> Artifact:
        """The artifact at `stage/fingerprint-prefix` in `store`, of a name there, or by its full URI anywhere.

        Raises UserError when none or several answer to it, and when what a name stands for has become another.
        """
        require_public(ref, "artifact")
        head, _, prefix = ref.rstrip("/").rpartition("/")
        root, _, stage = head.rpartition("/")
        where = open_store(root) if root else store
        if stage in ("", NAMES) and (record := read_name(where, prefix)):
            return _still(cls.open(where, *record.now.artifact.split("/")), prefix, record.now)
        if NAME.fullmatch(stage) and len(prefix) == SHORT:  # all digits: nothing has to be listed
            with suppress(ArtifactMissing):
                return cls.open(where, stage, prefix)
        there = where.folders(stage) if NAME.fullmatch(stage) else []
        found = [name for name in there if name.startswith(prefix)] if prefix else []
        if not found:
            known = ", ".join(f"{stage}/{name}" for name in there[:5])
            raise ArtifactMissing(
                f"artifact {ref}: nothing of that name in {where.url}; expected stage/fingerprint"
                f" (its first digits will do) or a name{', for instance ' + known if known else ''}."
            )
        if len(found) > 1:
            raise UserError(f"artifact {ref}: several answer to it: {', '.join(found)}. Give more digits.")
        return cls.open(where, stage, found[0])

    def files(self, glob: str = "*") -> list[FileRecord]:
        """Records whose logical name (`shard-000000.tar`, `model/unet/config.json`) fits `glob`, by path."""
        return [file for file in self.manifest.files if fnmatch.fnmatchcase(file.name, glob)]

    def fetch(self, file: FileRecord | str) -> Path:
        """A local file with the recorded content: in place for a local store, else from the cache.

        `file` is a record, a logical name or a path in the artifact. The sha256 is checked; raises UserError when it
        differs, when the file is gone and when the manifest has no such file.
        """
        record = file if isinstance(file, FileRecord) else self.record(file)
        return fetch(self.store, self.base, record)

    def folder(self, name: str = "") -> Path:
        """The local folder of the tree blob `name`, every file verified; for "" the whole artifact's."""
        return local_tree(self.manifest.files, name, self.uri, self.fetch)

    def digest_of(self, tree: str, names: Collection[str]) -> str:
        """The digest of these files of the tree alone; one that is not there is no part of it."""
        wanted = {f"{tree}/{name}": name for name in names}
        return digest_of_hashes({wanted[file.name]: file.sha256 for file in self.files() if file.name in wanted})

    def units(self) -> dict[str, UnitRecord]:
        """What it was put together from, by id, sorted. Raises StoreError."""
        if not self.manifest.units and self.manifest.files:
            records = read_units(self.store, self.store.list(f"{self.base}/units"))  # of an older version
            return {record.unit: record for record in records.values()}
        files, made_by = {file.path: file for file in self.manifest.files}, self.manifest.environments
        return {
            part.unit: UnitRecord(
                unit=part.unit,
                files=[files[path] for path in part.files],
                rows=part.rows,
                seconds=part.seconds,
                metrics=part.metrics,
                environment={} if part.environment is None else made_by[part.environment],
            )
            for part in self.manifest.units
        }

    def record(self, name: str) -> FileRecord:
        """The record of a logical name or a path in the artifact. Raises UserError when the manifest has none."""
        for file in self.manifest.files:
            if name in (file.name, file.path):
                return file
        raise _holds_none("file", name, self.uri, self.manifest.files)


def read_units(store: Store, paths: Collection[str]) -> dict[str, UnitRecord]:
    """The unit records at these paths, but for those that are gone and, with a warning, those that are none.

    Raises StoreError.
    """
    found: dict[str, UnitRecord] = {}
    for path, data in store.read_many(paths).items():
        try:
            found[path] = UnitRecord.from_bytes(data, Path(path).stem)
        except ValueError as error:
            _log.warning("%s/%s is no unit record, the unit is redone: %s", store.url, path, error)
    return found


def _still(artifact: Artifact, name: str, naming: Naming) -> Artifact:
    """The artifact, if it is what was named."""
    if artifact.digest != naming.digest:
        raise UserError(
            f"name {name}: {artifact.base} has been made again with another outcome since it was named (digest"
            f" {naming.digest[:12]}, now {artifact.digest[:12]}). Say `instaflow models name {artifact.base} {name}"
            " --move` if that is what it is to stand for."
        )
    return artifact


def _require_own(manifest: Manifest, stage: str, fingerprint: str, where: str) -> None:
    """Refuse the manifest of something else: of another stage, or under a fingerprint that is not its own."""
    asked = {"stage": (manifest.stage, manifest.stage == stage, stage)}
    asked["fingerprint"] = (manifest.fingerprint, manifest.fingerprint.startswith(fingerprint), fingerprint)
    for field, (found, fits, expected) in asked.items():
        if not fits:
            raise UserError(
                f"{where}: {field}: found {found}, expected {expected}: this is the manifest of something else. Put it"
                " back where it was made, or delete it and run the stage again."
            )


def _holds_none(what: str, name: str, where: str, files: Sequence[FileRecord]) -> UserError:
    held = ", ".join(sorted({file.name.partition("/")[0] for file in files})[:5]) or "nothing"
    return UserError(f"{where}: holds no {what} {name or 'at all'}; it has {held}. Name the artifact of another stage.")


def local_tree(files: Sequence[FileRecord], name: str, where: str, fetch: Callable[[FileRecord], Path]) -> Path:
    records = [file for file in files if not name or file.name.startswith(f"{name}/")]
    if not records:
        raise _holds_none("folder", name, where, files)
    paths = [fetch(record) for record in records]
    if not all(path.is_file() for path in paths):
        size = sum(record.bytes for record in records)
        raise UserError(
            f"{where}: {name or 'the artifact'} takes {size} bytes, more than the cache may hold: its first files made"
            " room for the last. Raise INSTAFLOW_CACHE_BYTES."
        )
    levels = len(Path(records[0].path).parts) - (2 if name else 0)
    return paths[0].parents[levels - 1]
