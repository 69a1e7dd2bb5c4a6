"""What Prefect is told beside its run records: artifacts with stable keys and stage events.

A mirror only: it works in a thread of its own and whatever goes wrong there is logged and forgotten.
"""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.events import emit_event
from prefect.exceptions import PrefectException

from flows.pace import Pace
from infra.address import public
from infra.artifact import Artifact

EVERY_S = 2.0
_PATIENCE_S = 5.0  # a server that hangs may hold a stage up for this long, once
_ERRORS = (httpx.HTTPError, PrefectException, OSError, RuntimeError, ValueError)
_log = logging.getLogger(__name__)


class Mirror:
    """Sends what concerns one stage, in order, from a thread."""

    def __init__(self, stage_id: str) -> None:
        self._key = f"stage-{stage_id}"
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        context = contextvars.copy_context()  # carries the flow run the artifacts belong to
        self._thread = threading.Thread(target=context.run, args=(self._work,), daemon=True)
        self._thread.start()
        self._progress = _ProgressArtifact(f"{self._key}-progress")
        self._pace, self._sent_s = Pace(), float("-inf")

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except _ERRORS as error:
                _log.warning("Prefect was not told about %s: %s", self._key, public(str(error)))

    def progress(self, done: int, total: int, unit: str) -> None:
        """A Progress: the progress artifact, at most every two seconds."""
        self._pace.update(done, total, unit)
        now_s = time.monotonic()
        if done < total and now_s - self._sent_s < EVERY_S:
            return
        self._sent_s = now_s
        percent, text = 100.0 * done / total if total else 0.0, str(self._pace)
        self._jobs.put(lambda: self._progress.show(percent, text))

    def finished(self, artifact: Artifact, *, cached: bool) -> None:
        """The stage's table, a link where it is a report, and the event."""
        state = "cached" if cached else "finished"
        if not cached:
            self._jobs.put(lambda: create_markdown_artifact(markdown=_card(artifact), key=self._key))
        if link := _report_link(artifact):
            self._jobs.put(lambda: create_link_artifact(link=link, link_text="report.html", key="report"))
        resource = {"prefect.resource.id": f"instaflow.{self._key}", "instaflow.artifact": artifact.uri}
        self._jobs.put(lambda: emit_event(event=f"instaflow.stage.{state}", resource=resource))

    def close(self) -> None:
        """Send what is left, within a few seconds."""
        self._jobs.put(None)
        self._thread.join(_PATIENCE_S)


class _ProgressArtifact:
    def __init__(self, key: str) -> None:
        self._key = key
        self._id: UUID | None = None

    def show(self, percent: float, text: str) -> None:
        if self._id is None:
            created = create_progress_artifact(progress=percent, key=self._key, description=text)
            assert isinstance(created, UUID), "this thread runs no event loop"
            self._id = created
        else:
            update_progress_artifact(self._id, progress=percent, description=text)


@contextmanager
def mirrored(stage_id: str) -> Iterator[Mirror]:
    """The mirror of a stage for as long as it runs."""
    mirror = Mirror(stage_id)
    try:
        yield mirror
    finally:
        mirror.close()


def _card(artifact: Artifact) -> str:
    manifest = artifact.manifest
    facts = {
        "artifact": f"`{artifact.uri}`",
        "digest": f"`{manifest.digest}`",
        "rows": f"{manifest.rows:,}",
        "bytes": f"{sum(file.bytes for file in manifest.files):,}",
        "seconds": f"{manifest.seconds:.1f}",
    } | {name: str(value) for name, value in manifest.metrics.items() if not isinstance(value, dict | list)}
    rows = [f"| {name} | {value} |" for name, value in facts.items()]
    return "\n".join(["| | |", "|---|---|", *rows])


def _report_link(artifact: Artifact) -> str | None:
    for file in artifact.manifest.files:
        if file.name == "report.html":
            local = artifact.store.local_path(f"{artifact.base}/{file.path}")
            return local.as_uri() if local else f"{artifact.uri}/{file.path}"
    return None
