"""A model that got worse than the recipe's last one is told as an event, for those whom it is to reach."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from flows.run import opened
from flows.server.mirror import mirrored
from infra.artifact import Artifact
from infra.errors import UserError
from infra.upkeep.runs import Ref
from tasks.evaluate.change import worse
from tasks.evaluate.measured import Metrics, read_metrics
from tasks.roles import Role
from tasks.stage import Behalf

_log = logging.getLogger(__name__)


def tell_if_worse(stage_id: str, last: Ref | None, evaluation: Artifact, behalf: Behalf, roles: Sequence[Role]) -> None:
    """Tell Prefect of what this evaluation says got worse since the recipe's `last`; never fails a run.

    Only of models that were trained here: one that is given, or measured alone, has nothing in common with the last.
    """
    trained = [role.name for role in roles if role.own_teacher not in (None, role.name)]
    if last is None or last.artifact == evaluation.base:
        return
    try:
        before = opened.find(evaluation.store, last.artifact)
        told = worse(_metrics(before), _metrics(evaluation), trained)
    except UserError as error:  # what was swept or damaged cannot be compared with
        _log.warning("%s is not compared with the last one: %s", evaluation.uri, error)
        return
    if told:
        with mirrored(stage_id, behalf) as mirror:
            mirror.worse(evaluation, before, told)


def _metrics(evaluation: Artifact) -> Metrics:
    return read_metrics(evaluation.fetch("metrics.json"))
