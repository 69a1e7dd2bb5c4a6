"""What the evaluations of a store measured, and of which artifacts."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from flows.observed.reading import Seen
from flows.observed.whole import is_intact
from infra.artifact import Artifact
from infra.errors import UserError
from infra.upkeep.inventory import base_in
from tasks.evaluate.cells import Cell, cells, present
from tasks.evaluate.measured import Measured, Metrics
from tasks.roles import FLOOR, Role
from tasks.sections import EvaluateJob

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """An evaluation with its numbers; `models` says by role which artifact, or folder, was measured."""

    artifact: Artifact
    metrics: Metrics
    roles: Mapping[str, Role]
    models: Mapping[str, str]
    cells: Sequence[Cell]

    @property
    def base(self) -> str:
        """stage/fingerprint of the evaluation."""
        return self.artifact.base

    def label(self, record: Measured) -> str:
        """What a record is of, for people."""
        role = self.roles.get(record.model)
        name = role.label if role else record.model.capitalize()
        scale = "" if record.guidance in (None, 1.0) else f", guidance {record.guidance:g}"
        return name if record.steps is None else f"{name}, {record.steps} step{'' if record.steps == 1 else 's'}{scale}"

    def cell(self, record: Measured) -> Cell | None:
        """The cell that a record is of."""
        told = (record.model, record.steps, record.guidance)
        return next((one for one in self.cells if (one.role.name, one.steps, one.guidance) == told), None)

    @property
    def is_disturbed(self) -> bool:
        """Whether its times were measured beside other work of the machine."""
        return bool(self.metrics.beside)

    @property
    def of_models(self) -> Sequence[Measured]:
        """The records but for the floor's, which is no model."""
        return [record for record in self.metrics.records if record.model != FLOOR]


def read_evaluations(seen: Seen) -> tuple[dict[str, Evaluation], dict[str, str]]:
    """The evaluations by stage/fingerprint, and what is wrong with those that cannot be read. Raises StoreError."""
    files = {
        f"{artifact.base}/{file.path}": (artifact, file)
        for artifact in seen.artifacts.values()
        if artifact.stage == "evaluate"
        for file in artifact.files("metrics.json")
    }
    read, found, amiss = seen.store.read_many([*files]), dict[str, Evaluation](), dict[str, str]()
    for path, (artifact, file) in files.items():
        try:
            if not is_intact(file, read.get(path, b"")):
                raise UserError(f"{path}: is missing, or damaged. Run its recipe again.")
            found[artifact.base] = _evaluation(artifact, read[path])
        except (UserError, ValidationError) as error:
            amiss[artifact.base] = str(error).partition("\n")[0]
    return found, amiss


def _evaluation(artifact: Artifact, data: bytes) -> Evaluation:
    """Raises ValidationError for numbers or a configuration of another schema."""
    metrics = Metrics.model_validate_json(data)
    told = EvaluateJob.model_validate_json(json.dumps(artifact.manifest.config))
    inputs = {record.role: record for record in artifact.manifest.inputs}
    roles = present(told, [*inputs])
    models = {
        role.name: base_in(inputs[role.input].uri) or inputs[role.input].uri for role in roles if role.input in inputs
    }
    return Evaluation(artifact, metrics, {role.name: role for role in roles}, models, cells(told, [*inputs]))
