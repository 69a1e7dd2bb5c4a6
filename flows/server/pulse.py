"""Signs of life of a run that was started in a terminal, as events: a server that stands tells people of its silence.

A worker's run has Prefect's own heartbeat, and goes to another worker (flows/deploy/lost_runs.py). Nobody can take over
what a terminal does, so all that its silence leads to is a message.
"""

from __future__ import annotations

from prefect.context import FlowRunContext
from prefect.events import emit_event

from infra.upkeep.runs import RunRecord

ALIVE = "instaflow.run.alive"
ENDED = "instaflow.run.ended"


def is_of_a_terminal() -> bool:
    """Whether the flow that this is called in was started by a command line, and by no worker."""
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and context.flow_run.deployment_id is None


def beat(record: RunRecord, stage_id: str) -> None:
    """The run is alive, and does that stage."""
    _emit(ALIVE, record, stage=stage_id, host=record.environment.get("host", ""))


def end(record: RunRecord) -> None:
    """From now on it is silent because it has ended."""
    _emit(ENDED, record)


def _emit(event: str, record: RunRecord, **more: str) -> None:
    """Put it into the queue of a thread of Prefect's, which no server that is gone holds up."""
    resource = {"prefect.resource.id": f"instaflow.run.{record.run_id}", "prefect.resource.name": record.recipe}
    emit_event(event=event, resource=resource, payload={"recipe": record.recipe, "run": record.run_id, **more})
