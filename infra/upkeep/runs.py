"""Run records and references: who ran what, and what a recipe's last run made of each stage.

A record says what the run was given (a teacher, a caption set), so that another teacher takes nothing away from the one
before.

A run that is killed cannot say so: it gives a sign of life every half minute, and who reads its record sees how
long ago the last one was.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Literal, TypeVar

from pydantic import Field, JsonValue, ValidationError

from infra.artifact.fingerprint import SHORT, canonical_json, sha256_bytes
from infra.artifact.manifest import NAME, Base, Name, Record, Sha256
from infra.store import Store

BEAT_S = 30.0
LOST_AFTER_S = 4 * BEAT_S

_R = TypeVar("_R", bound=Record)
_log = logging.getLogger(__name__)


class Ref(Record):
    """What the last run of a recipe made of one stage."""

    artifact: Base = Field(description="stage/fingerprint")
    digest: Sha256 = Field(description="manifest digest")
    config: dict[str, JsonValue] = Field(description="the stage's recipe section with defaults filled in")
    inputs: dict[Name, Sha256] = Field(description="digest of each input by role")


class Begun(Record):
    """What the last run of a recipe set out to make of one stage: its units are wanted, finished or not."""

    artifact: Base = Field(description="stage/fingerprint")
    inputs: list[Base] = Field(default_factory=list, description="those of its inputs that are artifacts of this store")


class StageRun(Record):
    """One stage within a run. What was measured is null in a cached stage and in records of older versions."""

    stage: Name = Field(description="id of the stage in the chain")
    artifact: Base = Field(description="stage/fingerprint")
    state: Literal["running", "cached", "done", "failed", "cancelled"] = Field(description="how it stands or ended")
    inputs: list[str] = Field(default_factory=list, description="those of its inputs that are artifacts of this store")
    started_at: str | None = Field(default=None, description="ISO 8601, UTC; null in records of older versions")
    finished_at: str | None = Field(default=None, description="ISO 8601, UTC; null while it runs")
    reason: str | None = Field(default=None, description="why it ran; null where it had been made before")
    seconds: float = Field(default=0.0, description="wall time, s")
    error: str | None = Field(default=None, description="the message it failed with")
    device: str | None = Field(default=None, description="what computed: a GPU's name, or CPU")
    device_seconds: float | None = Field(default=None, description="wall time x devices used, s")
    unit: str | None = Field(default=None, description="what progress is counted in: pairs, steps, images, ...")
    units: int | None = Field(default=None, description="how many of them this run did")
    done: int | None = Field(default=None, description="how many of them are there, with what was there before")
    total: int | None = Field(default=None, description="how many of them the stage has in all")
    samples_per_second: float | None = Field(
        default=None, description="samples per second of work in this run (a training step is a batch of them)"
    )
    peak_memory_bytes: int | None = Field(
        default=None, description="largest resident memory of the process up to the end of the stage"
    )
    peak_device_memory_bytes: int | None = Field(
        default=None, description="most memory allocated on the GPU during the stage"
    )


class RunRecord(Record):
    """One run of a recipe; rewritten as the run goes on."""

    run_id: Name = Field(description="name of the record")
    recipe: str = Field(
        pattern=rf"^_?{NAME.pattern}$", description="name of the recipe; `_alone` for a stage that was run by itself"
    )
    part_of: Name | None = Field(default=None, description="the run that sent it a stage; null for one of its own")
    given: str | None = Field(
        default=None, description="stands for all that it started from: a teacher, a caption set; null in older records"
    )
    overrides: list[str] = Field(default_factory=list, description="what was set in the recipe, each as given")
    teacher: str | None = Field(
        default=None, description="its teacher as the recipe names it; null where none is given, and in older records"
    )
    teacher_digest: Sha256 | None = Field(default=None, description="what the teacher was, by content")
    flow_run: str | None = Field(default=None, description="id of its run in Prefect; null without one")
    state: Literal["running", "done", "failed", "cancelled"] = Field(description="how it stands")
    started_at: str = Field(description="ISO 8601, UTC")
    finished_at: str | None = Field(default=None, description="ISO 8601, UTC; null while it runs")
    stages: list[StageRun] = Field(default_factory=list, description="stages so far, in order")
    environment: dict[str, str] = Field(default_factory=dict, description="versions, host, platform, git commit")
    user: str | None = Field(default=None, description="who ran it: the account's name")
    pid: int | None = Field(default=None, description="its process on the environment's host")
    heartbeat_at: str | None = Field(default=None, description="last sign of life while it runs: ISO 8601, UTC")
    exit: int | str | None = Field(
        default=None, description="exit code, or the name of the signal that ended it; null while it runs"
    )
    error: str | None = Field(default=None, description="the message it failed with")

    @property
    def device_seconds(self) -> float:
        """Device time of the stages that it did itself, s; those that it sent away are in the records of its parts."""
        return sum(stage.device_seconds or 0.0 for stage in self.stages)

    @property
    def last_sign_at(self) -> datetime:
        """When it gave its last sign of life."""
        return datetime.fromisoformat(self.heartbeat_at or self.started_at)

    def silent_s(self, now: datetime) -> float:
        """Seconds since the last sign of life."""
        return (now - self.last_sign_at).total_seconds()

    def is_lost(self, now: datetime) -> bool:
        """Whether it says that it runs but has been silent for minutes: killed, stopped, or cut off from the store."""
        return self.state == "running" and self.silent_s(now) > LOST_AFTER_S


def given_name(digests: Collection[tuple[str, str]]) -> str:
    """What stands in a record for all that the run was given, each by kind and digest: 16 hex digits."""
    return sha256_bytes(canonical_json(sorted(digests)))[:SHORT]


def write_ref(store: Store, recipe: str, stage_id: str, ref: Ref) -> None:
    """Remember what `recipe` made of `stage_id`."""
    store.write(_ref_path(recipe, stage_id), ref.to_bytes())


def write_begun(store: Store, recipe: str, stage_id: str, artifact: str, inputs: Collection[str] = ()) -> None:
    """Remember what `recipe` is about to make of `stage_id`, and from which artifacts of the store."""
    store.write(_begun_path(recipe, stage_id), Begun(artifact=artifact, inputs=[*inputs]).to_bytes())


def forget_begun(store: Store, recipe: str, stage_ids: Collection[str]) -> None:
    """Let go of what `recipe` set out to make of these stages: it has what it wants of them."""
    store.delete_many([_begun_path(recipe, stage_id) for stage_id in stage_ids])


def read_ref(store: Store, recipe: str, stage_id: str) -> Ref | None:
    """What the last run of `recipe` made of `stage_id`; None when there was none."""
    return next(_read(store, [_ref_path(recipe, stage_id)], Ref), None)


def write_run(store: Store, record: RunRecord) -> None:
    """Write or rewrite a run's record."""
    store.write(f"runs/{record.run_id}.json", record.to_bytes())


def list_runs(store: Store) -> list[RunRecord]:
    """All runs, oldest first."""
    records = _read(store, [path for path in store.list("runs") if path.endswith(".json")], RunRecord)
    return sorted(records, key=lambda record: record.started_at)


def changed_fields(
    old: Mapping[str, JsonValue], new: Mapping[str, JsonValue], prefix: str = ""
) -> Iterator[tuple[str, JsonValue, JsonValue]]:
    """(dotted field, old value, new value) wherever two configs differ; an absent field counts as null."""
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from changed_fields(before, after, f"{prefix}{name}.")
        elif before != after:
            yield f"{prefix}{name}", before, after


def _begun_path(recipe: str, stage_id: str) -> str:
    return f"begun/{recipe}/{stage_id}.json"


def _ref_path(recipe: str, stage_id: str) -> str:
    return f"refs/{recipe}/{stage_id}.json"


def _read(store: Store, paths: Collection[str], kind: type[_R]) -> Iterator[_R]:
    for path, data in store.read_many(paths).items():
        try:
            yield kind.model_validate_json(data)
        except ValidationError as error:  # records only explain: a damaged one must not stop a run
            _log.warning("%s/%s is no %s, passed over: %s", store.url, path, kind.__name__, error)
