"""What a tracker is told of a training or an evaluation: one run for each artifact, which never changes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from pydantic import JsonValue

from flows.observed.evaluations import Evaluation
from flows.observed.known import Known
from flows.observed.whole import table
from infra.address import public
from infra.artifact import Artifact
from infra.errors import UserError
from infra.upkeep.inventory import base_in
from tasks.evaluate.measured import Measured, of_own_guidance
from tasks.evaluate.metrics import METRICS
from tasks.stages import CURVE_FILE, STAGES

if TYPE_CHECKING:
    from PIL.Image import Image

CURVE = ("loss", "gradient_norm", "learning_rate")
"""The columns of a training curve that are told."""
COLUMNS = 8
"""Pictures a row of the contact sheet."""
_DIGITS = 8


@dataclass(frozen=True)
class Tracked:
    """One artifact as a run of a tracker."""

    known: Known
    artifact: Artifact

    @property
    def group(self) -> str:
        """Its stage."""
        return self.artifact.stage

    @property
    def key(self) -> str:
        """What it is called wherever it is told, stage-fingerprint-digest: another content is another run."""
        return f"{self.artifact.base.replace('/', '-')}-{self.artifact.digest[:_DIGITS]}"

    @property
    def began(self) -> datetime:
        """When the work on it began, or its last attempt."""
        return datetime.fromisoformat(self.artifact.manifest.started_at)

    @property
    def ended(self) -> datetime:
        """When it was finished."""
        return datetime.fromisoformat(self.artifact.manifest.finished_at)

    @cached_property
    def parameters(self) -> Mapping[str, str | int | float]:
        """The stage's configuration by dotted field; what is neither a number nor a text stands there as JSON."""
        return dict(_flat(self.artifact.manifest.config))

    @cached_property
    def tags(self) -> Mapping[str, str]:
        """What it is, who made it in which run, at which commit, and of what it was made."""
        manifest = self.artifact.manifest
        inputs = {record.role: base_in(record.uri) or public(record.uri) for record in manifest.inputs}
        told = {
            "artifact": self.artifact.base,
            "digest": self.artifact.digest,
            "stage": manifest.stage,
            "commit": manifest.environment.get("git_commit"),
            **self._made_by(),
            **{f"made_of.{role}": source for role, source in inputs.items()},
        }
        return {name: value for name, value in told.items() if value}

    def _made_by(self) -> Mapping[str, str | None]:
        """Of the first run that did the work."""
        for run in [*self.known.runs.values()][::-1]:
            if any(one.artifact == self.artifact.base and one.state == "done" for one in run.record.stages):
                name = run.record.part_of or run.record.run_id
                return {"recipe": run.record.recipe, "run": name, "teacher": run.teacher}
        return {}

    @cached_property
    def numbers(self) -> Mapping[str, Sequence[tuple[int, float]]]:
        """Numbers over steps: of a training its curve, of an evaluation its metrics over the solver's steps.

        Those of an evaluation are called `frechet_distance/student`, with `frechet_distance_interval/student`. Raises
        StoreError.
        """
        evaluation = self._evaluation
        return dict(_measured(evaluation) if evaluation else self._curve())

    def _curve(self) -> Iterator[tuple[str, Sequence[tuple[int, float]]]]:
        (file, *_) = self.artifact.files(CURVE_FILE)
        rows = table(self.artifact, file, ["step", *CURVE])
        steps = rows["step"].to_pylist() if rows is not None else [0]
        if rows is not None:
            yield from ((name, [*zip(steps, rows[name].to_pylist(), strict=True)]) for name in CURVE)
        final = {**self.artifact.manifest.metrics, "seconds": self.artifact.manifest.seconds}
        for name, value in final.items():
            if isinstance(value, int | float):
                yield name, [(steps[-1], float(value))]

    def contact_sheet(self) -> Image | None:
        """The same noise and prompt down each column; None for a training, and where it cannot be read.

        Raises StoreError.
        """
        from tasks.report.contact_sheet import draw, read_contact_sheet

        evaluation = self._evaluation
        if evaluation is None:
            return None
        try:
            tensors, prompts = (self.artifact.fetch(name) for name in ("contact.safetensors", "contact.json"))
            return draw(read_contact_sheet(tensors, prompts, COLUMNS, evaluation.cells))
        except (UserError, LookupError):
            return None

    @property
    def _evaluation(self) -> Evaluation | None:
        return self.known.evaluations.get(self.artifact.base)


def to_be_tracked(known: Known) -> Iterator[Tracked]:
    """Every training with a curve and every evaluation whose numbers can be read, the oldest first."""
    for artifact in sorted(known.seen.artifacts.values(), key=lambda one: (one.manifest.finished_at, one.base)):
        stage = STAGES.get(artifact.stage)
        is_training = stage is not None and stage.curve is not None and bool(artifact.files(CURVE_FILE))
        if is_training or artifact.base in known.evaluations:
            yield Tracked(known, artifact)


def _flat(config: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, str | int | float]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str | int | float) else json.dumps(value)


def _measured(evaluation: Evaluation) -> Iterator[tuple[str, Sequence[tuple[int, float]]]]:
    records = evaluation.metrics.records
    own = of_own_guidance(records)
    names: dict[str, list[Measured]] = {}
    for record in records:
        name = record.model if record in own else f"{record.model} guidance {record.guidance:g}"
        names.setdefault(name, []).append(record)
    for metric in METRICS:
        for key in (metric.key, metric.interval_key):
            for name, those in names.items():
                found = [(one.steps or 0, number) for one in those if (number := one.number(key)) is not None]
                if found:
                    yield f"{key}/{name}", sorted(found)
