"""The runs that a pipeline has on other workers: started, looked at, cancelled; found again after a restart by tags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelled, Cancelling

from infra.errors import UserError

POLL_S = 2.0
"""Between two looks at how the children are."""


LOST = "Lost"
"""The crashed state of a run that fell silent; the server gives it to another worker (flows/deploy/lost_runs.py)."""


class Children:
    """The runs of one stage that the flow run this is made in has sent to a work pool."""

    def __init__(self, client: SyncPrefectClient, deployment: str, artifact: str) -> None:
        self._client, self.deployment = client, deployment
        self.tags = [f"parent:{flow_run.get_id()}", f"artifact:{artifact}"]

    def start(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Send one more. Raises UserError when the pool does not know the stage."""
        try:
            # in the history of the flow run this is called in it is a subflow
            run_deployment(
                self.deployment,
                parameters=dict(parameters),
                flow_run_name=name,
                tags=self.tags,
                timeout=0,
            )
        except ObjectNotFound as error:
            pool = self.deployment.rpartition("/")[2]
            raise UserError(
                f"placement: the server knows no deployment {self.deployment}: the stage cannot be sent to the work"
                f" pool {pool}. Name {pool} in the file of pools and run `instaflow deploy`, or correct the recipe's"
                " placement."
            ) from error

    def all(self) -> list[FlowRun]:
        """Every one of them, oldest first, in one request: also those of before a restart."""
        chosen = FlowRunFilter(tags=FlowRunFilterTags(all_=self.tags))
        return self._client.read_flow_runs(
            flow_run_filter=chosen, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=_MOST
        )

    def cancel(self) -> None:
        """Have those stopped that are under way; one that nobody has taken yet is over at once."""
        for run in self.all():
            if not is_over(run):
                untaken = run.state is None or run.state.is_scheduled()
                self._client.set_flow_run_state(run.id, Cancelled() if untaken else Cancelling(), force=True)


_MOST = 200


def words(state: State[Any] | None) -> str:
    """How a run ended, in its own words."""
    told = (state.message if state else None) or "it ended without a word"
    return told.removeprefix("Flow run encountered an exception: ").removeprefix(f"{UserError.__name__}: ")


def is_over(run: FlowRun) -> bool:
    """Whether a child has ended, however."""
    return run.state is not None and run.state.is_final()


@contextmanager
def children(deployment: str, artifact: str) -> Iterator[Children]:
    """The children that the present flow run has for an artifact."""
    with get_client(sync_client=True) as client:
        yield Children(client, deployment, artifact)


def is_cancelling() -> bool:
    """Whether somebody has the present flow run cancelled."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(flow_run.get_id())).state
    return state is not None and (state.is_cancelling() or state.is_cancelled())
