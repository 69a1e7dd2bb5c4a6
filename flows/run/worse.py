"""A model that got worse than the recipe's last one is told as an event, for those whom it is to reach."""

from __future__ import annotations

import logging

from flows.run import opened
from flows.server.mirror import mirrored
from infra.artifact import Artifact
from infra.errors import UserError
from infra.upkeep.runs import Ref
from tasks.evaluate.change import worse
from tasks.evaluate.measured import Metrics, read_metrics
from tasks.stage import Behalf

_log = logging.getLogger(__name__)


def tell_if_worse(stage_id: str, last: Ref | None, evaluation: Artifact, behalf: Behalf) -> None:
    """Tell Prefect of what this evaluation says got worse since the recipe's `last`; never fails a run."""
    if last is None or last.artifact == evaluation.base:
        return
    try:
        before = opened.find(evaluation.store, last.artifact)
        told = worse(_metrics(before), _metrics(evaluation))
    except UserError as error:  # what was swept or damaged cannot be compared with
        _log.warning("%s is not compared with the last one: %s", evaluation.uri, error)
        return
    if told:
        with mirrored(stage_id, behalf) as mirror:
            mirror.worse(evaluation, before, told)


def _metrics(evaluation: Artifact) -> Metrics:
    return read_metrics(evaluation.fetch("metrics.json"))
