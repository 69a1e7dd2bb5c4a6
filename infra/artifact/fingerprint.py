"""Identity: canonical JSON and the sha256 digests made of it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from infra.errors import UserError

SHORT = 16  # hex digits of a fingerprint that name its folder
_CHUNK_BYTES = 1 << 20


def canonical_json(obj: object) -> bytes:
    """One byte string per value: sorted keys, no spaces, floats by repr, UTF-8. Raises ValueError on NaN."""
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def sha256_bytes(data: bytes) -> str:
    """sha256 of a byte string, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """sha256 of a file's content, 64 hex digits, read once in pieces."""
    digest = hashlib.sha256()
    buffer = bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(view[:count])
    return digest.hexdigest()


def tree_files(folder: Path) -> dict[str, Path]:
    """Every file below `folder` by its relative POSIX path, in sorted order; links are followed.

    Raises UserError for a link that leads in a circle, OSError for a folder that cannot be read.
    """
    return dict(sorted(_below(folder, "", ())))


def _below(folder: Path, prefix: str, above: tuple[Path, ...]) -> Iterator[tuple[str, Path]]:
    # not rglob and its like, which follow linked folders in some versions of Python and not in others
    real = folder.resolve()
    if real in above:
        raise UserError(f"{folder}: this link leads to {real}, a folder that it lies in. Remove it.")
    with os.scandir(folder) as entries:
        for entry in entries:
            name, path = f"{prefix}{entry.name}", folder / entry.name
            if _is_folder(entry):
                yield from _below(path, f"{name}/", (*above, real))
            elif entry.is_file():
                yield name, path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UserError(f"{entry.path}: this link leads to itself. Remove it.") from error
        raise


def digest_of_hashes(hashes: Mapping[str, str]) -> str:
    """The digest of a tree whose files (relative POSIX path -> sha256) are known."""
    return sha256_bytes(canonical_json(sorted(hashes.items())))


def tree_digest(folder: Path, hash_of: Callable[[Path], str] = sha256_file) -> str:
    """sha256 over the sorted (relative POSIX path, sha256) of all files below `folder`; raises as `tree_files` does."""
    return digest_of_hashes({name: hash_of(path) for name, path in tree_files(folder).items()})


def fingerprint(stage: str, version: int, config: Mapping[str, object], inputs: Mapping[str, str]) -> str:
    """The identity of a stage's output: 64 hex digits.

    `config` holds the output-affecting fields with defaults filled in (`Section.identity()`), `inputs` the
    digest of each input artifact or weight file by role. Nothing that says where or how fast belongs in them.
    """
    return sha256_bytes(
        canonical_json({"stage": stage, "version": version, "config": dict(config), "inputs": dict(inputs)})
    )
