"""What Prefect is told beside its run records: artifacts with a key for each recipe and teacher, and stage events.

A mirror only: it works in a thread of its own and whatever goes wrong there is logged and forgotten.
"""

from __future__ import annotations

import contextvars
import json
import logging
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from uuid import UUID

import httpx
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.events import emit_event
from prefect.exceptions import PrefectException

from flows.pace import Pace
from flows.server.cards import card
from infra.address import public
from infra.artifact import Artifact
from infra.artifact.fingerprint import sha256_bytes
from infra.errors import UserError
from infra.words import duration
from tasks.stage import Behalf

EVERY_S = 2.0
_PATIENCE_S = 5.0  # a server that hangs may hold a stage up for this long, once
_ERRORS = (httpx.HTTPError, PrefectException, UserError, OSError, RuntimeError, ValueError)
_log = logging.getLogger(__name__)


class Mirror:
    """Sends what concerns one stage, in order, from a thread."""

    def __init__(self, stage_id: str, behalf: Behalf | None = None) -> None:
        self._stage_id, self._behalf = stage_id, behalf
        self._key = key_of(stage_id, behalf)
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

    def started(self, artifact: str) -> None:
        """The event that the work on an artifact (stage/fingerprint) begins."""
        self._emit("instaflow.stage.started", artifact)

    def made(self, artifact: Artifact) -> None:
        """The stage's card."""
        manifest = artifact.manifest
        rows = f"{manifest.rows:,} rows, " if manifest.rows else ""
        told = f"{self._stage_id}: {rows}{duration(manifest.seconds)} of work"
        self.show(lambda: card(artifact), told)

    def committed(self, artifact: Artifact, *, cached: bool = False) -> None:
        """The event that the artifact is there: made now, or found made."""
        about = json.loads(artifact.manifest.model_dump_json(include={"rows", "seconds", "metrics"}))
        self._emit(
            f"instaflow.stage.{'cached' if cached else 'committed'}", artifact.base, digest=artifact.digest, **about
        )

    def failed(self, artifact: str, error: BaseException) -> None:
        """The event that the work on an artifact has ended without it."""
        self._emit("instaflow.stage.failed", artifact, error=public(str(error)) or type(error).__name__)

    def worse(self, artifact: Artifact, before: Artifact, told: Sequence[str]) -> None:
        """The event that an evaluation says that models got worse since the one before, a sentence each."""
        self._emit(
            "instaflow.evaluation.worse", artifact.base, digest=artifact.digest, before=before.base, told=[*told]
        )

    def over_budget(self, artifact: str, error: UserError) -> None:
        """The event that a run has spent what it may, or would with the work on this artifact (stage/fingerprint)."""
        self._emit("instaflow.run.budget", artifact, error=public(str(error)))

    def show(self, markdown: Callable[[], str], description: str) -> None:
        """A page of Markdown, which is written in the thread."""
        self._jobs.put(lambda: create_markdown_artifact(markdown=markdown(), key=self._key, description=description))

    def _emit(self, event: str, artifact: str, **more: object) -> None:
        behalf = asdict(self._behalf) if self._behalf else {}
        payload = {**behalf, "stage": self._stage_id, "artifact": artifact, **more}
        resource = {"prefect.resource.id": f"instaflow.{self._key}", "prefect.resource.name": self._stage_id}
        self._jobs.put(lambda: emit_event(event=event, resource=resource, payload=payload))

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


def key_of(stage_id: str, behalf: Behalf | None) -> str:
    """What a stage's artifacts are called in Prefect: the same for each run of a recipe on a teacher."""
    owner = [behalf.recipe, *([behalf.teacher] if behalf.teacher else [])] if behalf else []
    return "-".join(map(_slug, [*owner, stage_id]))


def _slug(text: str) -> str:
    """Lower-case letters, digits and dashes: the last part of a path, and some digits of what that leaves out."""
    found = re.sub("[^a-z0-9]+", "-", text.rstrip("/").rpartition("/")[2].lower()).strip("-")
    return found if found == text else f"{found}-{sha256_bytes(text.encode())[:6]}".strip("-")


@contextmanager
def mirrored(stage_id: str, behalf: Behalf | None = None) -> Iterator[Mirror]:
    """The mirror of a stage for as long as it runs."""
    mirror = Mirror(stage_id, behalf)
    try:
        yield mirror
    finally:
        mirror.close()


@contextmanager
def telling(mirror: Mirror, artifact: str, *, is_told: bool = True) -> Iterator[Callable[[Artifact], None]]:
    """Tell of the work on an artifact (stage/fingerprint) from its beginning; the block tells what it made.

    The events are another's to tell where they are not to be `is_told`: the card is shown all the same.
    """
    if is_told:
        mirror.started(artifact)

    def made(one: Artifact) -> None:
        mirror.made(one)
        if is_told:
            mirror.committed(one)

    try:
        yield made
    except Exception as error:  # not when it is told to stop: then it goes on elsewhere
        if is_told:
            mirror.failed(artifact, error)
        raise
