"""Identity: canonical JSON and the sha256 digests made of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

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
    """Every file below `folder` by its relative POSIX path, in sorted order."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return dict(sorted(found.items()))


def digest_of_hashes(hashes: Mapping[str, str]) -> str:
    """The digest of a tree whose files (relative POSIX path -> sha256) are known."""
    return sha256_bytes(canonical_json(sorted(hashes.items())))


def tree_digest(folder: Path) -> str:
    """sha256 over the sorted (relative POSIX path, sha256) of all files below `folder`."""
    return digest_of_hashes({name: sha256_file(path) for name, path in tree_files(folder).items()})


def fingerprint(stage: str, version: int, config: Mapping[str, object], inputs: Mapping[str, str]) -> str:
    """The identity of a stage's output: 64 hex digits.

    `config` holds the output-affecting fields with defaults filled in (`Section.identity()`), `inputs` the
    digest of each input artifact or weight file by role. Nothing that says where or how fast belongs in them.
    """
    return sha256_bytes(
        canonical_json({"stage": stage, "version": version, "config": dict(config), "inputs": dict(inputs)})
    )
