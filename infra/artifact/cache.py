"""Local copies of a remote store's files, verified on arrival, shared by every process of a machine.

A copy is named only when its sha256 was checked. Over the limit the least recently used ones go (room.py); a process
that has one of them mapped or open keeps it until it lets go. There is nothing to repair: any copy, and the whole
folder, may be deleted at any time.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.artifact.cache_folder import PLACE, cache_place, claimed
from infra.artifact.fingerprint import SHORT, sha256_bytes, sha256_file
from infra.artifact.manifest import FileRecord
from infra.artifact.room import copy_of, room, touch, unnamed
from infra.artifact.stamps import YOUNG_S, sha256_of, stamp
from infra.errors import UserError
from infra.store import Store, reason
from infra.store.store import checked

_LOCKS = ".locks"
_DERIVED = "derived"
_PATIENCE_S = 60.0  # whoever brings a file may be stopped or dead slow: then it is brought twice, which is harmless
_log = logging.getLogger(__name__)


def fetch(store: Store, base: str, record: FileRecord) -> Path:
    """A local file with the recorded content: in place for a local store, else from the cache.

    The sha256 is checked, by reading whatever is not the file that was read before. A copy that is damaged is brought
    again, once. Raises UserError when the store's own file is damaged or missing and when the cache cannot be written,
    StoreError when the store fails.
    """
    path = f"{base}/{checked(record.path)}"
    local = store.local_path(path)
    if local is None:
        return _cached(store, path, record, lambda part: _download(store, path, record, part))
    if not local.is_file():
        raise _missing(store, path)
    found = sha256_of(local)
    if found != record.sha256:
        raise _damaged(store, path, record, found)
    return local


def keep(store: Store, base: str, record: FileRecord, local: Path) -> None:
    """Put a file that was just uploaded into the cache, so that `fetch` need not download it; of a remote store only.

    Raises UserError when it has another content than the record says and when the cache cannot be written.
    """
    path = f"{base}/{record.path}"
    if store.local_path(path) is None:
        _cached(store, path, record, lambda part: _copy(local, record, part))


def derived(store: Store, base: str, record: FileRecord, kind: str, make: Callable[[Path, Path], object]) -> Path:
    """A local file that `make(source, target)` makes of the recorded one: once a machine, checked before it is used.

    `kind` stands for what is made and how. Raises UserError and StoreError as `fetch` does, and what `make` raises.
    """
    name = f"{_DERIVED}/{record.sha256[:SHORT]}-{kind}"
    try:
        found = _sound_of(name)
        if found is None:
            source = fetch(store, base, record)
            with _one_at_a_time(record.sha256):
                found = _sound_of(name) or _made(name, source, make)
        touch(found)
    except OSError as error:
        raise _no_place(f"{base}/{record.path} as {kind}", error) from error
    return found


def _cached(store: Store, path: str, record: FileRecord, fill: Callable[[Path], None]) -> Path:
    """The copy, sound: filled if there is none."""
    copy = copy_of(f"{sha256_bytes(store.url.encode())[:SHORT]}/{path}")
    try:
        if not _is_sound(copy, record.sha256):
            with _one_at_a_time(record.sha256):
                if not _is_sound(copy, record.sha256):  # who was first has brought it meanwhile
                    _bring(copy, record, fill)
        touch(copy)
    except OSError as error:
        raise _no_place(path, error) from error
    return copy


def _no_place(what: str, error: OSError) -> UserError:
    return UserError(
        f"cache {cache_place()}: cannot keep {what}: {reason(error)}."
        f" Make the folder writable and its disk large enough, or name another with {PLACE}."
    )


def _sound_of(name: str) -> Path | None:
    """What was made under that name: each file's own name is its sha256."""
    return next((path for path in sorted(copy_of(name).glob("*")) if _is_sound(path, path.name)), None)


def _made(name: str, source: Path, make: Callable[[Path, Path], object]) -> Path:
    for damaged in copy_of(name).glob("*"):
        damaged.unlink(missing_ok=True)
    with unnamed() as made:
        make(source, made)
        sha256 = sha256_file(made)
        copy = copy_of(f"{name}/{sha256}")
        with room().arriving(copy, made.stat().st_size) as part:
            made.replace(part)
            _make_old(part)
            stamp(part, sha256, copy)
    return copy


def _is_sound(copy: Path, sha256: str) -> bool:
    try:
        return copy.is_file() and sha256_of(copy) == sha256
    except FileNotFoundError:  # another process has made room in between
        return False


def _bring(copy: Path, record: FileRecord, fill: Callable[[Path], None]) -> None:
    # A power loss may tear a copy, which is not synced; its stamp is of another boot then, so that it is read again.
    with room().arriving(copy, record.bytes) as part:
        fill(part)
        _make_old(part)
        stamp(part, record.sha256, copy)  # not later: others may make room of it at once


def _make_old(part: Path) -> None:
    """Let whoever changes the file from now on change its time: a young one is read again before it is believed."""
    then = time.time() - 2 * YOUNG_S
    os.utime(part, (then, then))


def _download(store: Store, path: str, record: FileRecord, part: Path) -> None:
    """Get the file to `part` and check it; once more if it is damaged, for the way here may have done that."""
    for is_last in (False, True):
        try:
            store.download(path, part)
        except FileNotFoundError as error:
            raise _missing(store, path) from error
        found = sha256_file(part)
        if found == record.sha256:
            return
        if is_last:
            raise _damaged(store, path, record, found)
        _log.warning("%s/%s arrived damaged (sha256 %s) and is downloaded once more", store.url, path, found)


def _copy(local: Path, record: FileRecord, part: Path) -> None:
    shutil.copyfile(local, part)
    found = sha256_file(part)
    if found != record.sha256:
        raise UserError(
            f"{local}: changed while it was uploaded as {record.path}: expected sha256 {record.sha256}, found {found}."
            " See what else writes there, and run the stage again."
        )


@contextmanager
def _one_at_a_time(sha256: str) -> Iterator[None]:
    """Let one thread of one process at a time bring a file, so that it is downloaded once and not by each."""
    from filelock import FileLock, Timeout

    folder = claimed() / _LOCKS
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / sha256[:2])  # 256 locks for all files: a lock per file would stay behind for each
    try:
        lock.acquire(timeout=_PATIENCE_S)
    except Timeout:
        _log.warning("another process has been bringing a file into %s for %g s", cache_place(), _PATIENCE_S)
    try:
        yield
    finally:
        lock.release()


def _missing(store: Store, path: str) -> UserError:
    return UserError(f"{store.url}/{path}: the file is missing. Run the stage again: only what is missing is redone.")


def _damaged(store: Store, path: str, record: FileRecord, found: str) -> UserError:
    base = path.removesuffix(f"/{record.path}")
    return UserError(
        f"{store.url}/{path}: the file is damaged: expected sha256 {record.sha256}, found {found}."
        f" Say `instaflow artifacts verify {base} --store {store.url}` and run the stage again: only the unit it"
        " belongs to is redone."
    )
