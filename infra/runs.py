"""Run records and references: who ran what, and what a recipe's last run made of each stage."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Literal, TypeVar

from pydantic import Field, JsonValue, ValidationError

from infra.manifest import Record
from infra.store import Store

_R = TypeVar("_R", bound=Record)
_log = logging.getLogger(__name__)


class Ref(Record):
    """What the last run of a recipe made of one stage."""

    artifact: str = Field(description="stage/fingerprint")
    digest: str = Field(description="manifest digest")
    config: dict[str, JsonValue] = Field(description="the stage's recipe section with defaults filled in")
    inputs: dict[str, str] = Field(description="digest of each input by role")


class Begun(Record):
    """What the last run of a recipe set out to make of one stage: its units are wanted, finished or not."""

    artifact: str = Field(description="stage/fingerprint")


class StageRun(Record):
    """One stage within a run."""

    stage: str = Field(description="id of the stage in the chain")
    artifact: str = Field(description="stage/fingerprint")
    state: Literal["cached", "done", "failed"] = Field(description="how it ended")
    seconds: float = Field(default=0.0, description="wall time, s")


class RunRecord(Record):
    """One run of a recipe; rewritten as the run goes on."""

    run_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the record")
    recipe: str = Field(description="name of the recipe")
    state: Literal["running", "done", "failed", "cancelled"] = Field(description="how it stands")
    started_at: str = Field(description="ISO 8601, UTC")
    finished_at: str | None = Field(default=None, description="ISO 8601, UTC; null while it runs")
    stages: list[StageRun] = Field(default_factory=list, description="stages so far, in order")
    environment: dict[str, str] = Field(default_factory=dict, description="versions, host, platform, git commit")
    error: str | None = Field(default=None, description="the message it failed with")


def write_ref(store: Store, recipe: str, stage_id: str, ref: Ref) -> None:
    """Remember what `recipe` made of `stage_id`."""
    store.write(_ref_path(recipe, stage_id), ref.to_bytes())


def write_begun(store: Store, recipe: str, stage_id: str, artifact: str) -> None:
    """Remember what `recipe` is about to make of `stage_id`."""
    store.write(f"begun/{recipe}/{stage_id}.json", Begun(artifact=artifact).to_bytes())


def read_ref(store: Store, recipe: str, stage_id: str) -> Ref | None:
    """What the last run of `recipe` made of `stage_id`; None when there was none."""
    return _read(store, _ref_path(recipe, stage_id), Ref)


def write_run(store: Store, record: RunRecord) -> None:
    """Write or rewrite a run's record."""
    store.write(f"runs/{record.run_id}.json", record.to_bytes())


def list_runs(store: Store) -> list[RunRecord]:
    """All runs, oldest first."""
    records = [_read(store, path, RunRecord) for path in store.list("runs") if path.endswith(".json")]
    return sorted((record for record in records if record), key=lambda record: record.started_at)


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


def _ref_path(recipe: str, stage_id: str) -> str:
    return f"refs/{recipe}/{stage_id}.json"


def _read(store: Store, path: str, kind: type[_R]) -> _R | None:
    try:
        return kind.model_validate_json(store.read(path))
    except FileNotFoundError:
        return None
    except ValidationError as error:  # records only explain: a damaged one must not stop a run
        _log.warning("%s/%s is no %s, passed over: %s", store.url, path, kind.__name__, error)
        return None
