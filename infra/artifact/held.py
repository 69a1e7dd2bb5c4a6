"""A file or folder that an artifact holds, named by its full address where a recipe takes a path.

`s3://bucket/store/added/0123456789abcdef` is the whole tree, `.../0123456789abcdef/inception.pth` one of its files. The
digest is that of the same content on this machine's disk.
"""

from __future__ import annotations

import re
from pathlib import Path

from infra.artifact.artifact import MANIFEST, Artifact
from infra.artifact.manifest import ADDED, BASE
from infra.store import open_store

_ADDRESS = re.compile(rf"(.+)/({BASE.pattern})(?:/(.+))?")


class Held:
    """What an artifact holds under a name; under none, all of it. `tree` says what it is, if it was added."""

    def __init__(self, artifact: Artifact, name: str) -> None:
        self._artifact, self._name = artifact, name
        self.uri = f"{artifact.uri}/{name}".rstrip("/")
        self.tree = str(artifact.manifest.config["tree"]) if artifact.stage == ADDED else ""
        self.digest = artifact.record(self._inside).sha256 if name else artifact.digest

    @classmethod
    def at(cls, path: str) -> Held | None:
        """What lies at an address; None for a path of this machine. UserError when it is not there, StoreError."""
        match = _ADDRESS.fullmatch(path.rstrip("/"))
        if match is None:
            return None
        root, base, name = match.groups()
        if "://" not in root and not (Path(root).expanduser() / base / MANIFEST).is_file():
            return None
        return cls(Artifact.find(open_store(root), base), name or "")

    @property
    def path(self) -> Path:
        """A local, verified copy. Raises UserError for damage, StoreError."""
        return self._artifact.fetch(self._inside) if self._name else self._artifact.folder(self.tree)

    @property
    def _inside(self) -> str:
        return f"{self.tree}/{self._name}".lstrip("/")
