"""A run whose machine is gone can tell nobody: the server notices its silence and gives it to another worker."""

from __future__ import annotations

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.deploy.pools import Pools

NAME = "instaflow: lost runs go to another worker"


def automation(pools: Pools) -> AutomationCore:
    """After a sign of life, silence: the run is awaiting its retry. Only of runs that a worker can start again."""
    return AutomationCore(
        name=NAME,
        description=f"A run that is silent for {pools.lost_after_s} s is given to another worker, which resumes it.",
        trigger=EventTrigger(
            match=ResourceSpecification.model_validate({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification.model_validate(
                {"prefect.resource.id": "prefect.deployment.*", "prefect.resource.role": "deployment"}
            ),
            for_each={"prefect.resource.id"},
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=pools.lost_after_s),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.SCHEDULED,
                name="AwaitingRetry",
                force=False,
                message=f"No sign of life for {pools.lost_after_s} s.",
            )
        ],
    )


def look_for_lost_runs(client: SyncPrefectClient, pools: Pools) -> None:
    """Install the automation, or change it to what the pools say."""
    wanted, found = automation(pools), client.read_automations_by_name(NAME)
    if not found:
        client.create_automation(wanted)
    elif any(getattr(found[0], name) != getattr(wanted, name) for name in AutomationCore.model_fields):
        client.update_automation(found[0].id, wanted)
