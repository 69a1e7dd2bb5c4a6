"""Where a run is rehearsed: on the pool of its heavy stages, whose words are the pipeline's."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed, Failed

from flows.algorithms.chain import Chain
from flows.recipes import chain_of, load_recipe
from flows.run import rehearsal_flow
from flows.run.rehearsal_flow import _pool, rehearsal, rehearse
from flows.run.selection import EVERYTHING
from infra.errors import UserError
from infra.store import open_store


def chain(*overrides: str) -> Chain:
    return chain_of(load_recipe("tiny", overrides))


@pytest.mark.parametrize(
    ("placement", "pool"),
    [
        ("{}", None),
        ("{reflow: {gpus: 4}}", None),
        ("{default: {pool: cpu}}", "cpu"),
        ("{default: {pool: cpu}, evaluate: {pool: judges}, pairs: {pool: gpu}}", "gpu"),
        ("{default: {pool: cpu}, pairs-student: {pool: gpu}}", "gpu"),
    ],
)
def test_it_is_where_the_first_stage_with_a_place_of_its_own_is(placement: str, pool: str | None) -> None:
    found = chain(f"placement={placement}")
    assert _pool(found, frozenset(found.nodes)) == pool


@pytest.fixture(scope="module")
def server(api: SyncPrefectClient) -> SyncPrefectClient:
    """A server that knows the rehearsal on the pool `gpu`."""
    api.create_deployment(api.create_flow_from_name("rehearsal"), name="gpu")
    return api


@pytest.mark.server
def test_what_fails_on_the_worker_is_told_by_the_pipeline(
    server: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal_flow, "POLL_S", 0.05)
    taken, placed = list[FlowRun](), chain("placement.pairs.pool=gpu")
    message = "Flow run encountered an exception: UserError: rehearsal of stage pairs-1: no numbers"
    ends = iter([Failed(message=message), Completed()])

    @flow(persist_result=False)
    def pipeline() -> None:
        rehearse(placed, open_store(tmp_path / "store"), EVERYTHING)

    def worker() -> None:
        deployment = server.read_deployment_by_name("rehearsal/gpu").id
        while not over.wait(0.05):
            for run in server.get_scheduled_flow_runs_for_deployments([deployment]):
                taken.append(run)
                server.set_flow_run_state(run.id, next(ends), force=True)

    over, thread = threading.Event(), threading.Thread(target=worker)
    thread.start()
    try:
        with pytest.raises(UserError, match=r"^on pool gpu: rehearsal of stage pairs-1: no numbers$"):
            pipeline()
        pipeline()
    finally:
        over.set()
        thread.join()
    assert len(taken) == 2 and taken[0].parameters["stages"] == sorted(placed.nodes)
    told = rehearsal.validate_parameters(taken[0].parameters)["recipe"]
    assert chain_of(rehearsal_flow.parse_recipe(told, "test")).nodes.keys() == placed.nodes.keys()
