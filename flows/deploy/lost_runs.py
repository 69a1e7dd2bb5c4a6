"""A run whose machine is gone can tell nobody: the server notices its silence and gives it to another worker.

In two steps, since a run that has ended is silent, too: the server never takes an ended run for crashed, while it would
schedule it again when asked to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.deploy.pools import LOST_AFTER_S, Pools
from flows.server.children import LOST

SILENT_RUNS = "instaflow: silent runs are lost"
LOST_RUNS = "instaflow: lost runs go to another worker"

_RUN = {"prefect.resource.id": "prefect.flow-run.*"}
_OF_A_DEPLOYMENT = {"prefect.resource.id": "prefect.deployment.*", "prefect.resource.role": "deployment"}


def automations(pools: Pools) -> Iterator[AutomationCore]:
    """Silence after a sign of life makes a run lost, and what is lost is run again. Only what a worker can start."""
    yield AutomationCore(
        name=SILENT_RUNS,
        description=f"A run that gives no sign of life for {pools.lost_after_s} s is lost: its machine is gone.",
        trigger=EventTrigger(
            match=ResourceSpecification.model_validate(_RUN),
            match_related=ResourceSpecification.model_validate(_OF_A_DEPLOYMENT),
            for_each={"prefect.resource.id"},
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=pools.lost_after_s),
        ),
        actions=[_change(StateType.CRASHED, LOST, f"No sign of life for {pools.lost_after_s} s.")],
    )
    yield AutomationCore(
        name=LOST_RUNS,
        description="Another worker takes a lost run and resumes it.",
        trigger=EventTrigger(
            match=ResourceSpecification.model_validate(_RUN),
            for_each={"prefect.resource.id"},
            expect={f"prefect.flow-run.{LOST}"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[_change(StateType.SCHEDULED, "AwaitingRetry", "It was lost.")],
    )


def _change(state: StateType, name: str, message: str) -> ChangeFlowRunState:
    return ChangeFlowRunState(state=state, name=name, message=message, force=False)


def silence(client: SyncPrefectClient) -> timedelta:
    """After how much of it the server takes a run for lost."""
    trigger = next((one.trigger for one in client.read_automations_by_name(SILENT_RUNS)), None)
    return trigger.within if isinstance(trigger, EventTrigger) else timedelta(seconds=LOST_AFTER_S)


def look_for_lost_runs(client: SyncPrefectClient, pools: Pools) -> None:
    """Install the automations, or change them to what the pools say."""
    install(client, automations(pools))


def install(client: SyncPrefectClient, automations: Iterable[AutomationCore]) -> None:
    """Have the server know automations by their names: one that it knows as it is wanted stays untouched."""
    for wanted in automations:
        found = client.read_automations_by_name(wanted.name)
        if not found:
            client.create_automation(wanted)
        elif any(getattr(found[0], name) != getattr(wanted, name) for name in AutomationCore.model_fields):
            client.update_automation(found[0].id, wanted)
