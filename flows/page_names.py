"""Where the pages of a dashboard lie: names that any file system and any URL takes, whatever they are of."""

from __future__ import annotations

import os

from infra.address import public
from infra.artifact.fingerprint import sha256_bytes
from infra.artifact.manifest import NAME

URL = "INSTAFLOW_DASHBOARD_URL"
"""Variable with the address of a dashboard, served or static, for those who link to it from elsewhere."""
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


def card_url(base: str) -> str | None:
    """Where a browser finds the card of the artifact stage/fingerprint; None where no dashboard is named."""
    told = public(os.environ.get(URL, ""))
    return f"{told.removesuffix('index.html').rstrip('/')}/{card_path(base)}" if told else None


def report_path(base: str) -> str:
    """Where a served dashboard gives the page of the report stage/fingerprint."""
    return f"{card_path(base).removesuffix('.html')}/report.html"


def run_path(run_id: str) -> str:
    """The page of a run."""
    return f"runs/{slug(run_id)}.html"
