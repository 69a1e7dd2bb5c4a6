"""The cache's own folder: where it lies, and that it is nobody else's."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from pathlib import Path

from infra.errors import UserError

PLACE = "INSTAFLOW_CACHE"
_OWN, _MARK = "instaflow-cache", ".instaflow-cache"
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}


def cache_place() -> Path:
    """$INSTAFLOW_CACHE, else ~/.cache/instaflow: it may hold anything, the cache keeps to a folder in it."""
    return Path(os.environ.get(PLACE) or Path.home() / ".cache" / "instaflow").absolute()


def cache_folder() -> Path:
    """The folder that is the cache's alone, whether it is there or not."""
    return cache_place() / _OWN


def claimed() -> Path:
    """The same, there and marked. Raises UserError when it is somebody's, OSError when it cannot be made."""
    folder = cache_folder()
    if not (folder / _MARK).is_file():
        _claim(folder)
    return folder


def _claim(folder: Path) -> None:
    made = folder.with_name(f"{_MARK}-{uuid.uuid4().hex}")
    made.mkdir(parents=True)
    try:
        (made / _MARK).touch()
        made.rename(folder)  # replaces an empty folder and nothing else, and so is marked from the start
    except OSError as error:
        shutil.rmtree(made)
        if error.errno not in _TAKEN:
            raise
        if not (folder / _MARK).is_file():  # else another process was first
            raise UserError(
                f"cache {folder}: this folder is somebody's: it is not empty and has no file {_MARK}. Move it away, or"
                f" name another place with {PLACE}."
            ) from error
