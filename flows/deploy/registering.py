"""Telling a Prefect server: pools, deployments, and what becomes of lost runs. Told twice, nothing changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import WorkPool
from prefect.exceptions import ObjectNotFound
from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

from flows.deploy.deployments import Deployment, deployments
from flows.deploy.lost_runs import look_for_lost_runs
from flows.deploy.pools import Pool, Pools
from infra.errors import UserError
from infra.release import release


def register(pools: Pools) -> list[str]:
    """Create or change what is not yet as the pools say; the full names of all deployments.

    Raises UserError for a pool of that name that is of another type.
    """
    with get_client(sync_client=True) as client:
        for name, pool in pools.pools.items():
            with _refusal_of(name):
                _register_pool(client, name, pool)
        names = [_register(client, one) for one in deployments(pools)]
        look_for_lost_runs(client, pools)
    return names


@contextmanager
def _refusal_of(pool: str) -> Iterator[None]:
    """A template that does not fit is the user's to mend: the server says what is wrong with it."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        if error.response.status_code != 422:
            raise
        why = "; ".join(detail["msg"] for detail in error.response.json()["exception_detail"])
        raise UserError(f"pool {pool}: the server does not take it: {why}") from error


def _register_pool(client: SyncPrefectClient, name: str, pool: Pool) -> None:
    try:
        found = client.read_work_pool(name)
    except ObjectNotFound:
        template = _template(pool)
        wanted = WorkPoolCreate(
            name=name, type=pool.type, base_job_template=template, concurrency_limit=pool.concurrency
        )
        client.create_work_pool(wanted)
        return
    if found.type != pool.type:
        raise UserError(
            f"pool {name}: there is one of type {found.type}, wanted is {pool.type}. Call it otherwise, or delete the"
            f" old one: prefect work-pool delete {name}"
        )
    if update := dict(_changes(found, pool)):
        client.update_work_pool(name, WorkPoolUpdate(**update))


def _changes(found: WorkPool, pool: Pool) -> Iterator[tuple[str, Any]]:
    if found.concurrency_limit != pool.concurrency:
        yield "concurrency_limit", pool.concurrency
    if pool.base_job_template is not None and found.base_job_template != (template := _template(pool)):
        yield "base_job_template", template


def _template(pool: Pool) -> dict[str, Any]:
    if pool.base_job_template is None:
        return asyncio.run(get_default_base_job_template_for_infrastructure_type(pool.type)) or {}
    try:
        found: dict[str, Any] = json.loads(Path(pool.base_job_template).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{pool.base_job_template}: no valid JSON: {error}.") from error
    return found


def _register(client: SyncPrefectClient, one: Deployment) -> str:
    client.create_deployment(  # one of this name is changed
        flow_id=client.create_flow(one.flow),
        name=one.name,
        version=release(),
        description=one.flow.description,
        tags=one.tags,
        work_pool_name=one.pool,
        entrypoint=one.entrypoint,
        pull_steps=[],  # the code is installed where the worker is
        job_variables=one.job_variables,
        parameter_openapi_schema=one.flow.parameters.model_dump_for_openapi(),
        enforce_parameter_schema=True,
    )
    return one.full_name
