"""Sites: a server and its workers, which come from a wheel, each in a folder of its own; one as `up` starts it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from flows.deploy.lost_runs import LOST
from flows.recipes import chain_of, load_recipe
from flows.run import sources
from flows.server.connection import standing
from flows.server.local import state_folder
from infra.artifact import Artifact, Source
from infra.store import Store, open_store
from tasks.progress import silent
from tasks.sections import PairsJob, Performance
from tasks.stage import run_stage
from tasks.stages import stage_of
from tests import ROOT
from tests.one_process import one_process

POOLS = """
default: cpu
heartbeat_s: 30
lost_after_s: 45
pools:
  cpu: {workers: [{}]}
  gpu: {}
"""
PERFORMANCE = Performance(sample_batch_size=8)
CANARY = "canary-6d1f0c27"
"""A key of a store that every process of a house has in its environment."""


@dataclass
class Site:
    """A server that stands, and its workers: a wheel of this tree is installed in `folder`."""

    folder: Path
    client: SyncPrefectClient
    surroundings: Mapping[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def worker(self, name: str, device: str = "", pool: str = "gpu") -> subprocess.Popen[bytes]:
        """A worker in a folder of its own; it owns a device that this machine may not have."""
        here = self.folder / name
        here.mkdir()
        command = [sys.executable, "-m", "flows.cli", "worker", pool, "--name", name, "--devices", device]
        environment = installed(self.folder) | self.surroundings
        with (here / "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=here, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.started.append(process)
        return process

    def end(self) -> None:
        """Every worker."""
        for process in self.started:
            process.terminate()
        for process in self.started:
            process.wait()
        self.started.clear()

    def submit(self, deployment: str, **parameters: object) -> FlowRun:
        """As `prefect deployment run` does."""
        found = self.client.read_deployment_by_name(deployment)
        return self.client.create_flow_run_from_deployment(found.id, parameters=parameters)

    def newest(self, deployment: str) -> FlowRun:
        """The last run of it that somebody asked for."""
        found = self.client.read_deployment_by_name(deployment)
        (run,) = self.client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[found.id])),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=1,
        )
        return run

    def state(self, run: FlowRun) -> str | None:
        """What it is now."""
        return self.client.read_flow_run(run.id).state_name

    def wait(self, run: FlowRun, *states: str, within_s: float = 240) -> None:
        """Until it is in one of the states; it fails on the way when it ends in another."""

        def there() -> bool:
            now = self.client.read_flow_run(run.id)
            assert now.state is not None
            ended_otherwise = now.state.is_final() and now.state_name not in (*states, LOST)  # for a moment
            assert not ended_otherwise, f"{now.state_name}: {now.state.message}\n{self.logs()}"
            return now.state_name in states

        self.until(there, within_s)

    def until(self, there: Callable[[], object], within_s: float = 240) -> None:
        """Wait for it; the deadline is for a machine that is busy."""
        deadline_s = time.monotonic() + within_s
        while not there():
            assert time.monotonic() < deadline_s, self.logs()
            time.sleep(0.2)

    def supervisor(self, run: FlowRun) -> psutil.Process:
        """The process that a run is done in: `prefect flow-run execute`, the child of its worker."""
        pid = self.client.read_flow_run(run.id).infrastructure_pid
        return psutil.Process(int(pid or 0))

    def logs(self) -> str:
        """What the workers said."""
        written = [*self.folder.glob("*/log"), *state_folder().glob("worker-*.log")]
        return "\n".join(f"{path}:\n{path.read_text()[-2000:]}" for path in written)


@dataclass
class House(Site):
    """The site that `instaflow up` makes, for all tests of a module."""

    store: Store = field(kw_only=True)
    prompts: Artifact = field(kw_only=True)

    def pairs(self, pool: str, job: PairsJob, store: Store) -> FlowRun:
        """A run of pairs alone."""
        return self.submit(
            f"pairs/{pool}",
            config=job.model_dump(mode="json"),
            inputs={"teacher": "mini", "prompts": self.prompts.uri},
            performance=PERFORMANCE.model_dump(mode="json"),
            store=store.url,
        )

    def undisturbed(self, job: PairsJob, store: Store) -> Artifact:
        """The same in this process."""
        inputs: dict[str, Source] = {"teacher": sources.given("model", "mini"), "prompts": self.prompts}
        return run_stage(stage_of("pairs"), job, inputs, store, PERFORMANCE, silent)

    def units(self, store: Store) -> int:
        """How many shards of pairs are committed."""
        return len(shards(store))


def shards(store: Store) -> set[int]:
    """Numbers of those that are committed."""
    return {int(path[-11:-5]) for path in store.list("pairs") if "/units/shard-" in path}


@pytest.fixture
def house(standing_house: House) -> Iterator[House]:
    """The module's, without the workers of the tests before: one left over would take a run from another."""
    yield standing_house
    standing_house.end()


@pytest.fixture(scope="module")
def standing_house(tmp_path_factory: pytest.TempPathFactory, prefect_home: Path) -> Iterator[House]:
    """Comes up by the command that a user types."""
    folder = tmp_path_factory.mktemp("house")
    install_wheel(folder)
    (folder / "pools.yaml").write_text(POOLS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(prefect_home))
        patch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
        cli(folder, "up", "--pools", "pools.yaml", "--port", "0")
        try:
            with standing(), get_client(sync_client=True) as client:
                store = open_store(folder / "store")
                yield House(folder, client, store=store, prompts=_prompts(store))
        finally:
            cli(folder, "down")


def install_wheel(folder: Path) -> None:
    """Beside the tree: what is imported is found there, by PYTHONPATH."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    tree = _tree(folder / "tree")  # others may build at the same time
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(tree)]
    subprocess.run(build, check=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    assert "flows/gone.py" not in zipfile.ZipFile(wheel).namelist(), "a worker with it is another release"
    install = [*pip, "install", "--no-deps", "--target", str(folder / "installed"), str(wheel)]
    subprocess.run(install, check=True, cwd=folder)


def _tree(folder: Path) -> Path:
    """What a wheel is built from, and what an earlier build left of a module that is gone."""
    for name in ("flows", "tasks", "models", "infra"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    left = folder / "build" / "lib" / "flows" / "gone.py"
    left.parent.mkdir(parents=True)
    left.touch()
    return folder


def installed(folder: Path) -> dict[str, str]:
    """The environment of a process that has the wheel, and one thread."""
    return os.environ | {"PYTHONPATH": str(folder / "installed"), "OMP_NUM_THREADS": "1"}


def cli(folder: Path, *arguments: str, **surroundings: str) -> None:
    """`instaflow ARGUMENTS` of the wheel, which has to succeed."""
    environment = installed(folder) | surroundings
    command = [sys.executable, "-m", "flows.cli", *arguments]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def _prompts(store: Store) -> Artifact:
    """With few of one part, and more than are ever reached of the other."""
    chain = chain_of(load_recipe("tiny", ["prompts.reflow_count=160", "prompts.distill_count=8192"]))
    return one_process(chain, ["world", "prompts"], store)["prompts"]
