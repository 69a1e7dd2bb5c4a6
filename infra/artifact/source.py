"""What stages read from: a plain folder or an artifact, pinned by digest."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from infra.artifact.fingerprint import digest_of_hashes, tree_digest
from infra.artifact.stamps import sha256_of
from infra.errors import UserError
from infra.store import reason


class Pinned(Protocol):
    """Something that a stage's output depends on: where it lies, and the digest of what lies there."""

    @property
    def uri(self) -> str: ...

    @property
    def digest(self) -> str: ...


class Source(Pinned, Protocol):
    """Something a stage reads from, pinned by digest."""

    def folder(self, name: str = "") -> Path:
        """A local folder whose content was verified."""
        ...

    def digest_of(self, tree: str, names: Collection[str]) -> str:
        """The digest of these files of the tree alone; one that is not there is no part of it."""
        ...


class Folder:
    """An external folder or file on disk, for instance somebody's teacher. Its digest is its content's."""

    def __init__(self, path: Path, digest: str, name: str) -> None:
        self.path, self.digest, self.uri, self._name = path, digest, str(path), name

    @classmethod
    def open(cls, path: str | Path, name: str = "") -> Folder:
        """Hash what lies at `path`, and read what changed; `folder(name)` then gives `path` itself.

        Raises UserError for what is absent, cannot be read, or has links that lead in a circle.
        """
        found = Path(path).expanduser().absolute()
        if not found.exists():
            raise UserError(f"{path}: no such file or folder. Check the path; it starts at {Path.cwd()}.")
        try:
            return cls(found, tree_digest(found, sha256_of) if found.is_dir() else sha256_of(found), name)
        except OSError as error:
            raise UserError(f"{error.filename or path}: cannot be read: {reason(error)}. Make it readable.") from error

    def folder(self, name: str = "") -> Path:
        """`path/name`; `path` itself for "" and for the name given to `open`."""
        return self.path if name in ("", self._name) else self.path / name

    def digest_of(self, tree: str, names: Collection[str]) -> str:
        """The digest of these files below `folder(tree)`; one that is not there is no part of it."""
        files = {name: self.folder(tree) / name for name in names}
        return digest_of_hashes({name: sha256_of(path) for name, path in files.items() if path.is_file()})
