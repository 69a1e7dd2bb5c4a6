"""Where a stage's inputs come from: artifacts of a store, or folders that lie ready."""

from __future__ import annotations

import functools
from pathlib import Path

import models
from infra.artifact import MANIFEST, Artifact, Folder, Source
from infra.store import Store

EMBEDDED = "mini"
WEIGHTS = Path(models.__file__).parent / "mini" / "weights"
_EMBEDDED_FOLDERS = {"model": WEIGHTS / "teacher", "clip": WEIGHTS / "clip"}


def given(tree: str, path: str) -> Folder:
    """The tree "model", "clip" or "coco" at `path`; "mini" is the embedded one. UserError if absent."""
    return _opened(folder_of(tree, path), tree, Path.cwd())


def folder_of(tree: str, path: str) -> Path:
    """Where it lies; "mini" is the embedded one."""
    embedded = _EMBEDDED_FOLDERS.get(tree) if path == EMBEDDED else None
    return embedded or Path(path).expanduser()


@functools.cache  # its digest reads every byte
def _opened(path: Path, tree: str, start: Path) -> Folder:
    return Folder.open(path, tree)


def open_input(store: Store, tree: str, uri: str) -> Source:
    """The input at `uri`: an artifact's URI or short reference, a plain folder's absolute path, or "mini"."""
    if uri == EMBEDDED or _is_plain_folder(uri):
        return given(tree, uri)
    return Artifact.find(store, uri)


def _is_plain_folder(uri: str) -> bool:
    path = Path(uri).expanduser()
    return path.is_absolute() and path.is_dir() and not (path / MANIFEST).is_file()
