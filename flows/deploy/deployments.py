"""What is registered: the pipelines on the default pool, every stage and the rehearsal on every pool."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from prefect import Flow
from pydantic import JsonValue

from flows import pipeline, stage_flows
from flows.deploy.pools import Pools
from flows.pipeline import PIPELINES
from flows.run.rehearsal_flow import rehearsal
from flows.run.stage_flow import STAGE_FLOWS
from flows.server.arrival import RELEASE
from infra.release import release

COMMAND = "prefect flow-run execute"
"""With it a run whose worker gets SIGTERM is rescheduled; the engine alone would leave it RUNNING for ever."""

ENVIRONMENT = {
    "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "reschedule",
    # a worker that dies takes the pipe along to which Prefect's lines go
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True)
class Deployment:
    """One of our flows on a pool."""

    flow: Flow[..., Any] = field(repr=False)
    name: str
    pool: str
    module: str
    job_variables: dict[str, JsonValue] = field(repr=False)

    @property
    def entrypoint(self) -> str:
        """Where a worker finds the flow: in the installed package, whatever its folder."""
        return f"{self.module}.{self.flow.name}"

    @property
    def full_name(self) -> str:
        """As `prefect deployment run` takes it."""
        return f"{self.flow.name}/{self.name}"

    @property
    def tags(self) -> list[str]:
        """By which it is found in Prefect's pages."""
        return ["instaflow", "pipeline" if self.flow.name in PIPELINES else "stage"]


def deployments(pools: Pools) -> Iterator[Deployment]:
    """`instaflow/instaflow` on the default pool, `pairs/gpu` and `pairs/cpu`, and so on."""
    variables = {name: job_variables(pools, name) for name in pools.pools}
    for name, chain in PIPELINES.items():
        yield Deployment(chain, name, pools.default, pipeline.__name__, variables[pools.default])
    everywhere: list[Flow[..., Any]] = [*STAGE_FLOWS.values(), rehearsal]
    for stage in everywhere:
        for pool in pools.pools:
            yield Deployment(stage, pool, pool, stage_flows.__name__, variables[pool])


def job_variables(pools: Pools, pool: str) -> dict[str, JsonValue]:
    """The job variables of everything on a pool: what its file says, and what we need."""
    told = pools.pools[pool].job_variables
    more = told.get("env")
    env: dict[str, JsonValue] = {
        **(more if isinstance(more, dict) else {}),
        **ENVIRONMENT,
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(pools.heartbeat_s),
        RELEASE: release(),
    }
    return {**told, "command": COMMAND, "env": env}
