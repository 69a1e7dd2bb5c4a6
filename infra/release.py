"""Which code this is, so that two machines can tell whether they run the same.

While one develops, the version alone says little.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "instaflow"
_ROOT = Path(__file__).parents[1]
_FOLDERS = ("flows", "tasks", "models", "infra")
_SOURCES = ("**/*.py", "**/*.html.j2", "recipes/*.yaml")


@functools.cache
def release() -> str:
    """The installed version and a digest of the package's own files, as VERSION+DIGEST."""
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(f"{path.relative_to(_ROOT).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{importlib.metadata.version(PACKAGE)}+{digest.hexdigest()[:12]}"


def _sources() -> Iterator[Path]:
    for folder in _FOLDERS:
        yield from sorted({path for pattern in _SOURCES for path in (_ROOT / folder).glob(pattern)})
