"""A stage sent away: a real server, real runs of a pool, and a thread in the place of its workers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectAlreadyExists
from prefect.states import Completed, Crashed, Failed, Running

from flows.run import dispatch
from flows.run.dispatch import Errand, sent_away
from flows.run.recording import Origin, recording
from flows.run.sent import Sent
from flows.run.stage_flow import STAGE_FLOWS
from flows.server.children import Children, children
from infra.artifact import Artifact, base_of
from infra.environment import utc_now
from infra.errors import UserError
from infra.store import Store, open_store
from infra.upkeep.runs import RunRecord, list_runs
from tasks.progress import Progress, silent
from tasks.sections import Place, World
from tasks.stage import Job, make_share, run_stage, stage_fingerprint
from tasks.stages import STAGES
from tests.flows.small_stages import UNITS, small

pytestmark = pytest.mark.server
POOL = "hands"
Doing = Callable[[FlowRun, Job], State[Any]]


@pytest.fixture(scope="module", autouse=True)
def server(api: SyncPrefectClient) -> SyncPrefectClient:
    """A server that knows the stage `world` on the pool `hands`."""
    with suppress(ObjectAlreadyExists):
        api.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    flow_id, schema = api.create_flow_from_name("world"), STAGE_FLOWS["world"].parameters.model_dump()
    api.create_deployment(flow_id, name=POOL, work_pool_name=POOL, parameter_openapi_schema=schema)
    return api


@dataclass
class Hands:
    """Does the runs of the pool in a thread, each as `doing` says; `names` are those that were taken."""

    client: SyncPrefectClient
    store: Store
    doing: Doing
    names: list[str] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)

    def work(self, over: threading.Event) -> None:
        """Take what is scheduled, until told."""
        while not over.wait(0.05):
            for run in self.client.get_scheduled_flow_runs_for_deployments([self._deployment().id]):
                self.names.append(run.name)
                self.sent.append(Sent.model_validate(run.parameters["sent"]))
                self.client.set_flow_run_state(run.id, Running(), force=True)
                self.client.set_flow_run_state(run.id, self.doing(run, the_job(self.store)), force=True)

    def _deployment(self) -> Any:
        return self.client.read_deployment_by_name(f"world/{POOL}")


@contextmanager
def at_work(client: SyncPrefectClient, store: Store, doing: Doing) -> Iterator[Hands]:
    """Hands that take what the block sends."""
    hands, over = Hands(client, store, doing), threading.Event()
    thread = threading.Thread(target=hands.work, args=(over,))
    thread.start()
    try:
        yield hands
    finally:
        over.set()
        thread.join()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty one, and small stages."""
    monkeypatch.setitem(STAGES, "world", small(STAGES["world"]))
    monkeypatch.setattr(dispatch, "POLL_S", 0.05)
    monkeypatch.setattr(dispatch, "REVIVED_WITHIN_S", 0.5)
    return open_store(tmp_path / "store")


def pipeline(store: Store, workers: int = 1, pool: str = POOL, before: Callable[[], object] = lambda: None) -> Artifact:
    """The stage sent by a pipeline."""
    job, place = the_job(store), Place(pool=pool, workers=workers)

    @flow(name="sender", persist_result=False)
    def sender() -> Artifact:
        before()
        with (
            recording(store, "tiny", origin=Origin(teacher="mini", teacher_digest="d" * 64)) as record,
            record.stage("world", base(job), job.config, {}) as made,
        ):
            artifact = sent_away(Errand("world", job, place, record.record))
            made(artifact, False)
            return artifact

    return sender()


def the_job(store: Store) -> Job:
    """The stage that is sent."""
    return Job(STAGES["world"], World(val_images=7), {}, store)


def base(job: Job) -> str:
    """Where its artifact will be."""
    return base_of("world", stage_fingerprint(job.stage, job.config, {}))


def whole(job: Job, progress: Progress = silent) -> Artifact:
    """The stage done alone."""
    return run_stage(job.stage, job.config, job.inputs, job.store, job.performance, progress)


def a_share(run: FlowRun, job: Job) -> State[Any]:
    """What a sound worker does."""
    share = Sent.model_validate(run.parameters["sent"]).share
    make_share(job, share, silent) if share else whole(job)
    return Completed()


def test_shares_are_given_out_and_finished_here(server: SyncPrefectClient, store: Store, tmp_path: Path) -> None:
    with at_work(server, store, a_share) as hands:
        made = pipeline(store, workers=9)
    shares = [f"world {number} of {UNITS}" for number in range(1, UNITS + 1)]
    assert sorted(hands.names) == shares, "not more than there are groups"
    (record,) = list_runs(store)
    assert {(one.run, one.teacher, one.teacher_digest) for one in hands.sent} == {(record.run_id, "mini", "d" * 64)}
    stage = record.stages[0]
    assert (stage.state, stage.done, stage.total, stage.units) == ("done", UNITS, UNITS, None), "what all made together"
    assert stage.device_seconds is None and record.device_seconds == 0, "who did it has measured it"
    assert record.flow_run and server.read_flow_run(UUID(record.flow_run)).state_name == "Completed"
    assert whole(the_job(open_store(tmp_path / "alone"))).digest == made.digest


def test_a_lone_worker_does_the_whole_stage(server: SyncPrefectClient, store: Store) -> None:
    with at_work(server, store, a_share) as hands:
        made = pipeline(store)
    assert hands.names == ["world"] and made.manifest.metrics == {"units": UNITS}


def test_who_crashes_is_replaced_while_something_is_made(server: SyncPrefectClient, store: Store) -> None:
    def one_unit(run: FlowRun, job: Job) -> State[Any]:
        told = list[int]()

        def killed(done: int, total: int, unit: str) -> None:
            told.append(done)
            if len(told) > 1:  # the first is what was there before
                raise KeyboardInterrupt

        try:
            whole(job, killed)
        except KeyboardInterrupt:
            return Crashed(message="killed")
        return Completed()

    with at_work(server, store, one_unit) as hands:
        made = pipeline(store)
    assert made.manifest.metrics == {"units": UNITS} and len(hands.names) >= UNITS


@pytest.mark.parametrize("end, attempts", [(Failed(message="no such teacher"), 1), (Crashed(message="gone"), 3)])
def test_nothing_is_repeated_for_long_when_nothing_is_made(
    end: State[Any], attempts: int, server: SyncPrefectClient, store: Store
) -> None:
    with at_work(server, store, lambda run, job: end) as hands:
        with pytest.raises(UserError, match=rf"^stage world: on pool hands: {end.name}: {end.message}$"):
            pipeline(store)
    assert len(hands.names) == attempts
    (record,) = list_runs(store)
    assert (record.state, record.stages[0].state) == ("failed", "failed")


def test_a_run_that_says_it_has_completed_counts_for_nothing(server: SyncPrefectClient, store: Store) -> None:
    answers = iter([lambda run, job: Completed(), a_share])
    with at_work(server, store, lambda run, job: next(answers)(run, job)) as hands:
        made = pipeline(store)
    assert made.manifest.metrics == {"units": UNITS} and len(hands.names) == 2


def test_children_of_before_a_restart_are_waited_for_and_not_sent_again(
    server: SyncPrefectClient, store: Store
) -> None:
    job = the_job(store)

    def killed_after_sending() -> None:
        with children(f"world/{POOL}", base(job)) as ours:
            before = RunRecord(run_id="before", recipe="tiny", state="running", started_at=utc_now())
            ours.start("world", Errand("world", job, Place(pool=POOL), before).parameters(None))

    with at_work(server, store, a_share) as hands:
        pipeline(store, before=killed_after_sending)
    assert [one.run for one in hands.sent] == ["before"]


def test_who_is_stopped_takes_its_children_along(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, cancel = list[FlowRun](), Children.cancel

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    def cancelled(these: Children) -> None:
        cancel(these)
        ours.extend(these.all())

    monkeypatch.setattr(Children, "cancel", cancelled)
    monkeypatch.setattr("flows.run.dispatch.time.sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipeline(store)
    (child,) = ours
    assert child.state is not None and child.state.is_cancelled(), "nobody had taken it: it is over at once"


def test_a_pool_that_does_not_know_the_stage_is_named(store: Store) -> None:
    with pytest.raises(UserError, match=r"no deployment world/gpus.*instaflow deploy"):
        pipeline(store, pool="gpus")
