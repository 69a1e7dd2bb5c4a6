"""Work folders on the local disk: gone with the work, and with the next one made when the process was killed.

A folder lives as long as somebody holds the lock beside it, which the system takes back from a process that dies,
however it dies and whoever is told. So it is known whose folder is nobody's any more, also where containers or machines
share a disk; where a file system has no locks nothing is removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LOCK = ".lock"
_OURS = re.compile(rf"instaflow-.+-[a-z0-9_]{{8}}{re.escape(_LOCK)}")


class WorkFolder:
    """A new folder `path` in TMPDIR for what `name` works with, removed when it is closed, forgotten, or at exit.

    A context manager. Making one removes those of processes that were killed. Raises OSError.
    """

    def __init__(self, name: str) -> None:
        _remove_abandoned(Path(tempfile.gettempdir()))
        lock, held = _new_lock(name)
        self.path = lock.with_suffix("")
        self.path.mkdir(mode=0o700)
        self._clean = weakref.finalize(self, _remove, lock, held)

    def close(self) -> None:
        """Remove the folder."""
        self._clean()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


def _new_lock(name: str) -> tuple[Path, int]:
    """A lock file of a new name, locked, and what holds it."""
    while True:
        held, path = tempfile.mkstemp(prefix=f"instaflow-{name}-", suffix=_LOCK)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_EX)
        if os.fstat(held).st_nlink:  # else somebody took it for abandoned before it was locked
            return Path(path), held
        os.close(held)


def _remove_abandoned(root: Path) -> None:
    for lock in _locks(root):
        with suppress(OSError):  # somebody else's, or gone by now
            held = os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(held)
                continue
            _remove(lock, held)


def _locks(root: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from [root / name for name in os.listdir(root) if _OURS.fullmatch(name)]


def _remove(lock: Path, held: int) -> None:
    """Remove the folder, then the lock file, and only then let go of the lock."""
    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
    lock.unlink(missing_ok=True)
    os.close(held)
