"""All that can happen to a site: a placed chain over three workers and an S3 store ends as the undisturbed one does.

`make scenario` runs it, on SQLite and on PostgreSQL, and prints the time that each disturbance costs.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling

from flows.deploy.rerunning import rerun
from flows.recipes import chain_of, load_recipe
from flows.server.children import LOST
from flows.server.local import Endpoint, standing_server
from infra.artifact import Artifact
from infra.store import Store, open_store
from infra.upkeep.runs import list_runs
from tests.one_process import one_process
from tests.postgres import SERVE, an_endpoint, postgres, server_environment
from tests.s3 import BUCKET, rclone_server
from tests.workers.conftest import Site, cli, install_wheel, installed, shards

OVERRIDES = [
    "prompts={reflow_count: 1536, distill_count: 256}",
    "pairs={steps: 12, shard_size: 32}",
    "student_pairs.shard_size=32",
]
PLACEMENT = (
    "placement={default: {pool: cpu}, pairs: {pool: gpu, workers: 2}, reflow: {pool: gpu}, distill: {pool: gpu}}"
)
STAGES = ["world", "prompts", "pairs-1", "reflow-1", "pairs-student", "distill"]
LOST_AFTER_S = 45
POOLS = f"""
default: cpu
heartbeat_s: 30
lost_after_s: {LOST_AFTER_S}
pools: {{cpu: {{}}, gpu: {{}}}}
"""
WITHIN_S = 600.0
pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.scenario, pytest.mark.timeout(1800)]


@dataclass
class Server:
    """A Prefect server that can be killed, and started again where it was."""

    endpoint: Endpoint
    command: list[str]
    environment: dict[str, str]
    log: Path
    process: psutil.Popen | None = None

    def start(self) -> None:
        """Until it answers."""
        with self.log.open("ab") as log:
            self.process = psutil.Popen(
                self.command, env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline_s = time.monotonic() + WITHIN_S
        while not self.endpoint.is_up():
            assert self.process.poll() is None and time.monotonic() < deadline_s, self.log.read_text()[-2000:]
            time.sleep(0.2)

    def kill(self) -> None:
        """kill -9, of all that belongs to it."""
        assert self.process is not None
        _kill(self.process, *self.process.children(recursive=True))
        self.process.wait()


@dataclass
class Scene:
    """A placed run in the middle of its pairs."""

    site: Site
    server: Server
    store: Store
    name: str
    run: FlowRun
    workers: dict[str, psutil.Process] = field(default_factory=dict)

    def replace(self, worker: str) -> None:
        """Another machine takes the place of one that is gone."""
        pool, _, device = worker.partition("-")
        self.workers[worker] = psutil.Process(self.site.worker(f"{worker}-after-{self.name}", device, pool).pid)

    def engines(self, worker: str) -> list[psutil.Process]:
        """The processes in which a worker's run is done."""
        return self.workers[worker].children(recursive=True)

    def live(self) -> list[FlowRun]:
        """All that has not ended, of whatever run."""
        over = {StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED}
        types = FlowRunFilterStateType(any_=[one for one in StateType if one not in over])
        return self.site.client.read_flow_runs(flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=types)))


def undisturbed(scene: Scene) -> None:
    pass


def engine_killed(scene: Scene) -> None:
    _kill(*scene.engines("gpu-1"))


def worker_killed(scene: Scene) -> None:
    """Its engine goes on alone."""
    alone = scene.engines("gpu-1")
    _kill(scene.workers["gpu-1"])
    scene.site.until(lambda: not any(process.is_running() for process in alone), WITHIN_S)
    scene.replace("gpu-1")


def node_lost(scene: Scene) -> None:
    """Worker and engine."""
    _kill(scene.workers["gpu-1"], *scene.engines("gpu-1"))
    scene.replace("gpu-1")


def server_killed(scene: Scene) -> None:
    scene.server.kill()
    time.sleep(5)
    scene.server.start()


def worker_taken_away(scene: Scene) -> None:
    scene.workers["gpu-1"].terminate()
    assert scene.workers["gpu-1"].wait(60) == 0
    scene.replace("gpu-1")


def cancelled_and_run_again(scene: Scene) -> None:
    scene.site.client.set_flow_run_state(scene.run.id, Cancelling())
    scene.site.wait(scene.run, "Cancelled", within_s=90)
    scene.site.until(lambda: not scene.live(), within_s=90)
    assert shards(scene.store), "what was committed is kept"
    rerun(str(scene.run.id))


def pipelines_node_lost(scene: Scene) -> None:
    """While its children are at work."""
    _kill(scene.workers["cpu"], *scene.engines("cpu"))
    scene.replace("cpu")


def pipelines_worker_taken_away(scene: Scene) -> None:
    scene.workers["cpu"].terminate()
    assert scene.workers["cpu"].wait(60) == 0
    assert {one.state_name for one in scene.live() if one.id == scene.run.id} == {"AwaitingRetry"}
    scene.replace("cpu")


def frozen_and_awake(scene: Scene) -> None:
    """SIGSTOP for longer than a sign of life may be missing, then SIGCONT: a run that believes it is alive.

    It is lost, or cancelled where another worker was so fast that nothing was left to do.
    """
    asleep = [scene.workers["gpu-1"], *scene.engines("gpu-1")]
    (mine,) = [one for one in scene.live() if one.infrastructure_pid in {str(process.pid) for process in asleep}]
    for process in asleep:
        process.suspend()
    least_s = time.monotonic() + 2 * LOST_AFTER_S
    try:
        scene.site.until(lambda: time.monotonic() > least_s and _was(scene, mine, LOST, "Cancelling"), WITHIN_S)
    finally:
        for process in asleep:
            process.resume()


DISTURBANCES = [
    undisturbed,
    engine_killed,
    worker_killed,
    node_lost,
    server_killed,
    worker_taken_away,
    cancelled_and_run_again,
    pipelines_node_lost,
    pipelines_worker_taken_away,
    frozen_and_awake,
]


@dataclass
class Stage:
    """The site and what all scenes share."""

    site: Site
    server: Server
    workers: dict[str, psutil.Process]
    seconds: dict[str, float] = field(default_factory=dict)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests by stage id of the chain in one process."""
    chain, store = chain_of(load_recipe("tiny", OVERRIDES)), open_store(tmp_path_factory.mktemp("one-process"))
    return {stage_id: artifact.digest for stage_id, artifact in one_process(chain, STAGES, store).items()}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, prefect_home: Path
) -> Iterator[Stage]:
    """Three workers of a wheel, each in its own folder, before a server and a store that they reach by address."""
    folder = tmp_path_factory.mktemp(f"site-{request.param}")
    install_wheel(folder)
    (folder / "pools.yaml").write_text(POOLS)
    with pytest.MonkeyPatch.context() as patch, rclone_server(folder / "s3") as s3:
        patch.setenv("PREFECT_HOME", str(prefect_home))
        with (_on_sqlite if request.param == "sqlite" else _on_postgresql)(folder) as server:
            reach = s3.environment() | server.endpoint.environment()
            for name, value in reach.items():
                patch.setenv(name, value)
            cli(folder, "deploy", "--pools", "pools.yaml")
            told = {PREFECT_API_URL: server.endpoint.url, PREFECT_API_AUTH_STRING: server.endpoint.auth}
            with temporary_settings(told), get_client(sync_client=True) as client:
                site = Site(folder, client, reach)
                workers = {"cpu": site.worker("cpu", pool="cpu")}
                workers |= {f"gpu-{device}": site.worker(f"gpu-{device}", device) for device in ("1", "2")}
                found = Stage(site, server, {name: psutil.Process(one.pid) for name, one in workers.items()})
                try:
                    yield found
                finally:
                    site.end()
                    _print(request, found.seconds)


@contextmanager
def _on_sqlite(folder: Path) -> Iterator[Server]:
    """`instaflow server`."""
    port = an_endpoint().url.rpartition(":")[2].removesuffix("/api")
    command = [sys.executable, "-m", "flows.cli", "server", "--port", port]
    unknown = Endpoint(f"http://127.0.0.1:{port}/api")
    server = Server(unknown, command, installed(folder), folder / "server.log")
    try:
        server.start()
        server.endpoint = _behind_the_door()
        yield server
    finally:
        server.kill()


def _behind_the_door() -> Endpoint:
    """As runs of this machine find it, once the command has written it down."""
    deadline_s = time.monotonic() + WITHIN_S
    while (found := standing_server()) is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.2)
    return found


@contextmanager
def _on_postgresql(folder: Path) -> Iterator[Server]:
    """The server of the images."""
    with postgres() as database:
        endpoint = an_endpoint()
        environment = server_environment(folder, database, endpoint)
        server = Server(endpoint, SERVE, environment, folder / "server.log")
        server.start()
        try:
            yield server
        finally:
            server.kill()


def _print(request: pytest.FixtureRequest, seconds: dict[str, float]) -> None:
    said = request.config.get_terminal_writer()
    said.line(f"\n{request.param}: seconds, and those lost")
    for name, value in seconds.items():
        said.line(f"  {name:32} {value:6.0f} {value - seconds.get('undisturbed', value):+6.0f}")


@pytest.mark.parametrize("disturbance", DISTURBANCES, ids=lambda one: one.__name__)
def test_it_ends_as_the_undisturbed_run_does(
    stage: Stage, expected: dict[str, str], disturbance: Callable[[Scene], None]
) -> None:
    """No run is left under way, and no record of a task is lost."""
    name, begun = disturbance.__name__, time.monotonic()
    store = open_store(f"s3://{BUCKET}/{name}")
    parameters = {"recipe": "tiny", "overrides": [*OVERRIDES, PLACEMENT], "choice": {"until": ["distill"]}}
    run = stage.site.submit("instaflow/instaflow", store=store.url, **parameters)
    stage.site.until(lambda: {number % 2 for number in shards(store)} == {0, 1}, WITHIN_S)  # each has made its own
    scene = Scene(stage.site, stage.server, store, name, run, stage.workers)
    disturbance(scene)
    stage.site.wait(run, "Completed", within_s=WITHIN_S)
    stage.seconds[name] = time.monotonic() - begun
    _require_all(scene, expected)


def _require_all(scene: Scene, expected: dict[str, str]) -> None:
    whole = [one for one in list_runs(scene.store) if one.part_of is None]
    last = max(whole, key=lambda one: one.started_at)
    assert {stage.stage: Artifact.find(scene.store, stage.artifact).digest for stage in last.stages} == expected
    assert last.state == "done"
    scene.site.until(lambda: not scene.live(), within_s=180)
    runs = [one for one in scene.site.client.read_flow_runs() if one.parameters.get("store") == scene.store.url]
    for one in runs:
        mine = FlowRunFilter(id={"any_": [one.id]})
        tasks = scene.site.client.read_task_runs(flow_run_filter=mine)
        assert all(task.state is not None and task.state.is_final() for task in tasks), one.name
        assert tasks or "sent" not in one.parameters or one.state_name != "Completed", f"{one.name}: no task record"


def _was(scene: Scene, run: FlowRun, *states: str) -> bool:
    return not {*states}.isdisjoint(one.name for one in scene.site.client.read_flow_run_states(run.id))


def _kill(*processes: psutil.Process) -> None:
    for process in processes:
        process.kill()
