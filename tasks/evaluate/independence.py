"""Who measures has not been trained with: a network whose layers were a loss flatters what they made."""

from __future__ import annotations

from collections.abc import Mapping

from infra.artifact import Artifact, Source
from infra.errors import UserError
from tasks.sections import EvaluateJob
from tasks.stage import named_files
from tasks.stages import STAGES

_NO_NETWORK_OF_A_LOSS = {"teacher", "pairs", "more_pairs"}


def judges(inputs: Mapping[str, Source], config: EvaluateJob) -> dict[str, str]:
    """The digest of each network that measures, by the field or input that it is."""
    files = {name: file.digest for name, file in named_files(STAGES["evaluate"], config).items()}
    return files | ({"judge": inputs["judge"].digest} if "judge" in inputs else {})


def trained_with(inputs: Mapping[str, Source]) -> dict[str, dict[str, str]]:
    """The digest of each network whose layers were a loss, by the model that was trained with it."""
    artifacts = {role: source for role, source in inputs.items() if isinstance(source, Artifact)}
    return {
        role: {one.role: one.digest for one in source.manifest.inputs if one.role not in _NO_NETWORK_OF_A_LOSS}
        for role, source in artifacts.items()
        if "pairs" in [one.role for one in source.manifest.inputs]
    }


def require_independent(inputs: Mapping[str, Source], config: EvaluateJob) -> None:
    """Raise UserError when a model was trained on the layers of a network that is to measure it."""
    measuring = judges(inputs, config)
    for role, losses in trained_with(inputs).items():
        for loss, digest in losses.items():
            for judge, other in measuring.items():
                if digest == other:
                    raise UserError(
                        f"evaluate: {judge} is the network that {role} was trained with ({loss}, digest {digest[:12]})."
                        " It would judge its own work: name another one to measure with."
                    )
