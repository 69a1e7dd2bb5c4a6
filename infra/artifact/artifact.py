"""A finished artifact: what its manifest names, and nothing else."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable
from pathlib import Path

from infra.artifact.cache import fetch
from infra.artifact.fingerprint import SHORT
from infra.artifact.manifest import FileRecord, Manifest
from infra.errors import UserError
from infra.store import Store, open_store

MANIFEST = "manifest.json"


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

        Raises ArtifactMissing if there is none, UserError if it is damaged, StoreError if the store fails.
        """
        base = base_of(stage, fingerprint)
        path = f"{base}/{MANIFEST}"
        try:
            data = store.read(path)
        except FileNotFoundError as error:
            raise ArtifactMissing(
                f"{store.url}/{base}: no {MANIFEST}: this artifact was not finished. Run the stage {stage}."
            ) from error
        return cls(store, base, Manifest.from_bytes(data, f"{store.url}/{path}"))

    @classmethod
    def find(cls, store: Store, ref: str) -> Artifact:
        """The artifact named `stage/fingerprint-prefix` in `store`, or by its full URI anywhere.

        Raises UserError when none or several answer to it.
        """
        head, _, prefix = ref.rstrip("/").rpartition("/")
        root, _, stage = head.rpartition("/")
        where = open_store(root) if root else store
        found = [name for name in where.folders(stage) if name.startswith(prefix)] if stage and prefix else []
        if not found:
            known = ", ".join(f"{stage}/{name}" for name in where.folders(stage)[:5]) if stage else ""
            raise ArtifactMissing(
                f"artifact {ref}: nothing of that name in {where.url}; expected stage/fingerprint"
                f" (its first digits will do){', for instance ' + known if known else ''}."
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
        differs or the file is gone, KeyError when the manifest has no such file.
        """
        record = file if isinstance(file, FileRecord) else self._record(file)
        return fetch(self.store, self.base, record)

    def folder(self, name: str = "") -> Path:
        """The local folder of the tree blob `name`, every file verified; for "" the whole artifact's."""
        return local_tree(self.manifest.files, name, self.uri, self.fetch)

    def _record(self, name: str) -> FileRecord:
        for file in self.manifest.files:
            if name in (file.name, file.path):
                return file
        raise KeyError(f"{self.uri} holds no file {name!r}")


def local_tree(files: Iterable[FileRecord], name: str, where: str, fetch: Callable[[FileRecord], Path]) -> Path:
    records = [file for file in files if not name or file.name.startswith(f"{name}/")]
    if not records:
        raise KeyError(f"{where} holds no folder {name!r}")
    paths = [fetch(record) for record in records]
    if not all(path.is_file() for path in paths):
        size = sum(record.bytes for record in records)
        raise UserError(
            f"{where}: {name or 'the artifact'} takes {size} bytes, more than the cache may hold: its first files made"
            " room for the last. Raise INSTAFLOW_CACHE_BYTES."
        )
    levels = len(Path(records[0].path).parts) - (2 if name else 0)
    return paths[0].parents[levels - 1]
