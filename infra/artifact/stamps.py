"""What was read once need not be read again: the sha256 of a file, for as long as it is the same file; and other notes.

A file is the same while its inode, size and modification time are; that is asked at each use. What was found is kept in
the cache's folder, for all processes, in a file for each boot of the machine: what a power loss tore looks as it did.
"""

from __future__ import annotations

import functools
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from infra.artifact.cache_folder import PLACE, cache_folder, claimed
from infra.artifact.fingerprint import sha256_file

YOUNG_S = 2.0
"""A file that was changed so shortly ago may change again and show the same time: some disks count in two seconds."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAME = "stamps-"
_OLD_S = 7 * 86_400.0  # of another boot, or of another machine that shares the folder and has written none since
_PATIENCE_S = 60.0
_TABLE = "CREATE TABLE IF NOT EXISTS stamps (what TEXT PRIMARY KEY, state TEXT, sha256 TEXT) WITHOUT ROWID"
_log = logging.getLogger(__name__)
# One thread at a time. One that frees a statement waits for the connection and keeps the GIL meanwhile; the connection
# may wait for a file lock that another thread cannot let go of without the GIL: a minute, then "database is locked".
_alone = threading.Lock()
os.register_at_fork(before=_alone.acquire, after_in_parent=_alone.release, after_in_child=_alone.release)


def sha256_of(path: Path) -> str:
    """sha256 of a file's content, 64 hex digits: read, unless it is the file that was read before. Raises OSError."""
    state, changed_s = state_of(path)
    return remembered(str(path.absolute()), state, changed_s, lambda: sha256_file(path))


def stamp(file: Path, sha256: str, path: Path) -> None:
    """Note the sha256 of a file that has just been read and will lie at `path`. Raises OSError."""
    state, changed_s = state_of(file)
    if time.time() - changed_s > YOUNG_S:
        _ask("INSERT OR REPLACE INTO stamps VALUES (?, ?, ?)", str(path.absolute()), state, sha256)


def remembered(what: str, state: str, changed_s: float, read: Callable[[], str]) -> str:
    """What `read` gives, or gave when `what` was in this state, which it has been in since `changed_s` (Unix time)."""
    is_young = time.time() - changed_s <= YOUNG_S
    row = _ask("SELECT sha256 FROM stamps WHERE what = ? AND state = ?", what, state)
    if row is not None:
        return row[0]
    found = read()  # should it change meanwhile, then so does its state, and the stamp is of no file
    if not is_young:
        _ask("INSERT OR REPLACE INTO stamps VALUES (?, ?, ?)", what, state, found)
    return found


def is_noted(what: str) -> bool:
    """Whether something was noted on this machine since it was started."""
    return _ask("SELECT sha256 FROM stamps WHERE what = ?", what) is not None


def note(what: str) -> None:
    """Note that something has been seen, which its name alone says."""
    _ask("INSERT OR REPLACE INTO stamps VALUES (?, '', '')", what)


def state_of(path: Path) -> tuple[str, float]:
    """What a file is known by for as long as it is the same, and its modification time (Unix time). Raises OSError."""
    with path.open("rb", buffering=0) as file:  # not stat: of a file on NFS only opening it asks the server
        info = os.fstat(file.fileno())
    return f"{info.st_ino} {info.st_size} {info.st_mtime_ns}", info.st_mtime


def _ask(statement: str, *values: str) -> tuple[str] | None:
    """Its first row. Without the cache's folder nothing is known, and all is read: that is slow, and right."""
    with _alone:
        try:
            connection = _connection(os.environ.get(PLACE), os.getpid())
            row: tuple[str] | None = connection.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            _log.info("cache %s: %s", cache_folder(), error)
            _connection.cache_clear()  # the folder may have been deleted
            return None
        return row


@functools.lru_cache(maxsize=1)
def _connection(place: str | None, process: int) -> sqlite3.Connection:
    """One for all threads of a process, and none that was inherited through a fork."""
    try:
        return _connected(str(_file(claimed())))
    except (OSError, sqlite3.Error) as error:
        _log.warning("cache %s: %s: what this process reads, the next one reads again", cache_folder(), error)
        return _connected(":memory:")


def _connected(place: str) -> sqlite3.Connection:
    assert sqlite3.threadsafety == 3, "a build of sqlite whose connections threads may share"
    found = sqlite3.connect(place, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False)
    found.execute("PRAGMA journal_mode = TRUNCATE")  # not WAL: homes lie on NFS
    found.execute("PRAGMA synchronous = OFF")  # after a power loss it is another boot's
    found.execute(_TABLE)
    found.execute("BEGIN IMMEDIATE")  # fails now where it may only be read
    found.execute("COMMIT")
    return found


def _file(folder: Path) -> Path:
    found = folder / f"{_NAME}{_BOOT.read_text().strip()}.sqlite"
    if not found.exists():
        for other in folder.glob(f"{_NAME}*"):
            with suppress(FileNotFoundError):  # another process does the same
                if time.time() - other.stat().st_mtime > _OLD_S:
                    other.unlink()
    return found
