"""Local copies of a remote store's files, verified on arrival, shared by every process of a machine.

A copy is named only when its sha256 was checked. Over the limit the least recently used ones go; a process that has
one of them mapped or open keeps it until it lets go. There is nothing to repair: any file may be deleted at any time.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ByteSize, TypeAdapter, ValidationError

from infra.artifact.fingerprint import SHORT, sha256_bytes, sha256_file
from infra.artifact.manifest import FileRecord
from infra.errors import UserError
from infra.store import Store, reason
from infra.store.store import checked
from infra.store.whole_file import TEMPORARY, whole

_FOLDER, _LIMIT = "INSTAFLOW_CACHE", "INSTAFLOW_CACHE_BYTES"
_DEFAULT_SHARE = 0.8  # of the disk: pairs of Stable Diffusion are 210 GB, and each is read many times
_LOCKS = ".locks"
_DERIVED = "derived"
_PATIENCE_S = 60.0  # whoever brings a file may be stopped or dead slow: then it is brought twice, which is harmless
_ABANDONED_S = 86_400.0  # after which a file that is still arriving belongs to a killed process
_log = logging.getLogger(__name__)
_verified: set[tuple[Path, str]] = set()  # files whose sha256 this process has checked


def cache_folder() -> Path:
    """Where files of remote stores are kept: $INSTAFLOW_CACHE, else ~/.cache/instaflow."""
    return Path(os.environ.get(_FOLDER) or Path.home() / ".cache" / "instaflow").absolute()


def cache_limit_bytes() -> int:
    """$INSTAFLOW_CACHE_BYTES (`200GB`, `1.5TiB`, `5000000`), else 80% of what its disk has free without the cache.

    Raises UserError for what is no size.
    """
    if text := os.environ.get(_LIMIT):
        try:
            return int(TypeAdapter(ByteSize).validate_python(text))
        except ValidationError as error:
            raise UserError(f"{_LIMIT}={text}: expected a size, for instance 200GB or 5000000.") from error
    folder = cache_folder()
    there = next(one for one in (folder, *folder.parents) if one.exists())
    held = sum(info.st_size for _, info in _held())
    return int(_DEFAULT_SHARE * (shutil.disk_usage(there).free + held))


def fetch(store: Store, base: str, record: FileRecord) -> Path:
    """A local file with the recorded content: in place for a local store, else from the cache.

    The sha256 is checked once per process. A copy that is damaged is brought again, once. Raises UserError when the
    store's own file is damaged or missing and when the cache cannot be written, StoreError when the store fails.
    """
    path = f"{base}/{checked(record.path)}"
    local = store.local_path(path)
    if local is None:
        return _cached(store, path, record)
    if not local.is_file():
        raise _missing(store, path)
    found = _sha256_once(local, record.sha256)
    if found != record.sha256:
        raise _damaged(store, path, record, found)
    return local


def derived(store: Store, base: str, record: FileRecord, kind: str, make: Callable[[Path, Path], object]) -> Path:
    """A local file that `make(source, target)` makes of the recorded one: once a machine, checked before it is used.

    `kind` stands for what is made and how. Raises UserError and StoreError as `fetch` does, and what `make` raises.
    """
    folder = cache_folder() / _DERIVED / f"{record.sha256[:SHORT]}-{kind}"
    try:
        found = _sound_of(folder)
        if found is None:
            source = fetch(store, base, record)
            with _one_at_a_time(record.sha256):
                found = _sound_of(folder) or _made(folder, source, make)
        touch(found)
    except OSError as error:
        raise _no_place(f"{base}/{record.path} as {kind}", error) from error
    return found


def touch(path: Path) -> None:
    """Say that a copy is in use: the least recently used ones go first."""
    with suppress(FileNotFoundError):
        os.utime(path)


def _cached(store: Store, path: str, record: FileRecord) -> Path:
    local = cache_folder() / sha256_bytes(store.url.encode())[:SHORT] / path
    try:
        if not _is_sound(local, record.sha256):
            with _one_at_a_time(record.sha256):
                if not _is_sound(local, record.sha256):  # who was first has brought it meanwhile
                    _bring(store, path, record, local)
        touch(local)
    except OSError as error:
        raise _no_place(path, error) from error
    return local


def _no_place(path: str, error: OSError) -> UserError:
    return UserError(
        f"cache {cache_folder()}: cannot keep {path}: {reason(error)}."
        f" Make the folder writable and its disk large enough, or name another with {_FOLDER}."
    )


def _sound_of(folder: Path) -> Path | None:
    """What was made there: its name is its sha256."""
    return next((path for path in _whole_in(folder) if _is_sound(path, path.name)), None)


def _whole_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*")) if not path.name.startswith(TEMPORARY)]


def _made(folder: Path, source: Path, make: Callable[[Path, Path], object]) -> Path:
    found = folder

    def put(part: Path, target: Path) -> None:
        nonlocal found
        found = part.replace(folder / sha256_file(part))

    for damaged in _whole_in(folder):
        damaged.unlink(missing_ok=True)
    whole(folder / _DERIVED, lambda part: make(source, part), put, synced=False)
    _verified.add((found, found.name))
    _make_room(0, found)
    return found


def _is_sound(local: Path, sha256: str) -> bool:
    try:
        return local.is_file() and _sha256_once(local, sha256) == sha256
    except FileNotFoundError:  # another process has made room in between
        return False


def _bring(store: Store, path: str, record: FileRecord, local: Path) -> None:
    _make_room(record.bytes, local)
    # A power loss may tear a copy that is not synced; it is brought again then, for its hash is checked before use.
    whole(local, lambda part: _download(store, path, record, part), synced=False)
    _verified.add((local, record.sha256))
    _make_room(0, local)  # other downloads under way have each counted on the room


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


@contextmanager
def _one_at_a_time(sha256: str) -> Iterator[None]:
    """Let one thread of one process at a time bring a file, so that it is downloaded once and not by each."""
    from filelock import FileLock, Timeout

    folder = cache_folder() / _LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / sha256[:2])  # 256 locks for all files: a lock per file would stay behind for each
    try:
        lock.acquire(timeout=_PATIENCE_S)
    except Timeout:
        _log.warning("another process has been bringing a file into %s for %g s", cache_folder(), _PATIENCE_S)
    try:
        yield
    finally:
        lock.release()


def _make_room(more: int, keep: Path) -> None:
    """Delete the least recently used files until `more` bytes fit below the limit; never `keep`.

    Other processes may do the same at once: a file that is gone is as good as deleted.
    """
    held = sorted(_held(), key=lambda file: file[1].st_mtime)
    excess = sum(info.st_size for _, info in held) + more - cache_limit_bytes()
    abandoned = time.time() - _ABANDONED_S
    for path, info in held:
        if excess <= 0:
            return
        if path == keep or (path.name.startswith(TEMPORARY) and info.st_mtime > abandoned):
            continue
        path.unlink(missing_ok=True)
        excess -= info.st_size


def _held() -> list[tuple[Path, os.stat_result]]:
    """Every file of the cache, those under way included."""
    found = []
    for root, folders, names in os.walk(cache_folder()):
        if _LOCKS in folders:
            folders.remove(_LOCKS)
        for name in names:
            path = Path(root, name)
            with suppress(FileNotFoundError):
                found.append((path, path.stat()))
    return found


def _sha256_once(path: Path, expected: str) -> str:
    if (path, expected) in _verified:
        return expected
    found = sha256_file(path)
    if found == expected:
        _verified.add((path, expected))
    return found


def _missing(store: Store, path: str) -> UserError:
    return UserError(f"{store.url}/{path}: the file is missing. Run the stage again: only what is missing is redone.")


def _damaged(store: Store, path: str, record: FileRecord, found: str) -> UserError:
    base = path.removesuffix(f"/{record.path}")
    return UserError(
        f"{store.url}/{path}: the file is damaged: expected sha256 {record.sha256}, found {found}."
        f" Say `instaflow artifacts verify {base} --store {store.url}` and run the stage again: only the unit it"
        " belongs to is redone."
    )
