"""The whole site: every page of a store, rendered and put where it is to lie."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import tasks.report
from flows.dashboard.artifacts import artifact_pages
from flows.dashboard.cost import cost_page
from flows.dashboard.models import model_pages
from flows.dashboard.now import now_page
from flows.dashboard.pairs import pair_pages
from flows.dashboard.runs import run_pages
from flows.dashboard.writing import Written, whole_files, write_site
from flows.observed.known import Known, look
from infra.store import Store


def build(store: Store, out: Store, now: datetime) -> Written:
    """Write the site of a store. Raises UserError for a place that holds something else, StoreError."""
    return write_site(out, dict(files(look(store, now, whole_files(out)))))


def files(known: Known) -> Iterator[tuple[str, bytes | None]]:
    """Path and content of each file, None for one that is there; pages after those they link to, the front one last."""
    yield "style.css", _file(Path(tasks.report.__path__[0]) / "look.css") + _own("dashboard.css")
    yield "dashboard.js", _own("dashboard.js")
    yield from artifact_pages(known)
    yield from run_pages(known)
    yield from model_pages(known)
    yield from cost_page(known)
    yield from pair_pages(known)
    yield from now_page(known)


def _own(name: str) -> bytes:
    return _file(Path(__file__).parent / "templates" / name)


def _file(path: Path) -> bytes:
    return path.read_bytes()
