"""Where a stage's inputs come from: artifacts of a store, or folders that lie ready."""

from __future__ import annotations

from pathlib import Path

import models
from flows.run import opened
from flows.run.hub import SCHEME, snapshot
from infra.address import require_public
from infra.artifact import MANIFEST, Artifact, Folder, Source
from infra.artifact.names import is_named_here
from infra.store import Store, open_store

WEIGHTS = Path(models.__file__).parent / "mini" / "weights"
EMBEDDED = {
    ("model", "mini"): WEIGHTS / "teacher",
    ("clip", "mini"): WEIGHTS / "clip",
    ("clip", "mini-judge"): WEIGHTS / "judge",
}
"""What comes with the project, by tree and name."""


def given(tree: str, path: str) -> Source:
    """The tree at `path`: a folder, the full address of an artifact, hub://OWNER/NAME@REVISION.

    The trees are "model", "clip", "coco" and "pictures". "mini" is the embedded one. UserError if absent.
    """
    return _artifact(path) or Folder.open(folder_of(tree, path), tree)


def folder_of(tree: str, path: str) -> Path:
    """Where it lies; "mini" is the embedded one. UserError for an artifact or repository that is not there."""
    if (tree, path) in EMBEDDED:
        return EMBEDDED[tree, path]
    if path.startswith(SCHEME):
        return snapshot(path)
    artifact = _artifact(path)
    return artifact.folder(tree) if artifact else Path(path).expanduser()


def _artifact(path: str) -> Artifact | None:
    """The artifact at a full address: one of a remote store, a folder with a manifest, a name in a store."""
    away = "://" in path and not path.startswith(SCHEME)
    here = Path(path).expanduser()
    if not away and not (here / MANIFEST).is_file() and not is_named_here(here):
        return None
    require_public(path, "artifact")
    where = path if away else str(Path(path).expanduser().absolute())
    root, *name = where.rstrip("/").rsplit("/", 2)
    return opened.find(open_store(root), "/".join(name))


def open_input(store: Store, tree: str, uri: str) -> Source:
    """The input at `uri`: an artifact's URI or short reference, a plain folder's absolute path, or "mini"."""
    if (tree, uri) in EMBEDDED or _is_plain_folder(uri):
        return given(tree, uri)
    return opened.find(store, uri)


def _is_plain_folder(uri: str) -> bool:
    path = Path(uri).expanduser()
    return path.is_absolute() and path.is_dir() and not (path / MANIFEST).is_file()
