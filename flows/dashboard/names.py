"""Where the pages of a site lie: names that any file system and any URL takes, whatever they are of."""

from __future__ import annotations

from infra.artifact.fingerprint import sha256_bytes
from infra.artifact.manifest import NAME

_LONGEST = 80


def slug(name: str) -> str:
    """A name as part of a file name: itself, or digits of its hash where it is long or has other letters."""
    if NAME.fullmatch(name) and len(name) <= _LONGEST:
        return name
    return f"x-{sha256_bytes(name.encode())[:16]}"


def card_path(base: str) -> str:
    """The card of the artifact stage/fingerprint."""
    stage, _, fingerprint = base.partition("/")
    return f"artifacts/{slug(stage)}/{fingerprint}.html"


def run_path(run_id: str) -> str:
    """The page of a run."""
    return f"runs/{slug(run_id)}.html"
