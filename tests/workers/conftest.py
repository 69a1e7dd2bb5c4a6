"""One server with its workers for all tests of this folder, as `instaflow up` starts them, and more workers by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun

from flows.deploy.lost_runs import LOST
from flows.recipes import chain_of, load_recipe
from flows.run import sources
from flows.server.connection import standing
from infra.artifact import Artifact, Source
from infra.store import Store, open_store
from tasks.progress import silent
from tasks.sections import PairsJob, Performance
from tasks.stage import run_stage
from tasks.stages import stage_of
from tests import ROOT

POOLS = """
default: cpu
heartbeat_s: 30
lost_after_s: 45
pools:
  cpu: {workers: [{}]}
  gpu: {}
"""
PERFORMANCE = Performance(sample_batch_size=8)


@dataclass
class House:
    """The server and its workers. The last come from a wheel, each in a folder of its own."""

    folder: Path
    store: Store
    prompts: Artifact
    client: SyncPrefectClient
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(self.folder / "installed"), "OMP_NUM_THREADS": "1"}

    def worker(self, name: str, device: str) -> subprocess.Popen[bytes]:
        """A worker of the pool gpu, which owns a device that this machine may not have."""
        here = self.folder / name
        here.mkdir()
        command = [sys.executable, "-m", "flows.cli", "worker", "gpu", "--name", name, "--devices", device]
        with (here / "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=here, env=self.environment(), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.started.append(process)
        return process

    def submit(self, deployment: str, **parameters: object) -> FlowRun:
        """As `prefect deployment run` does."""
        found = self.client.read_deployment_by_name(deployment)
        return self.client.create_flow_run_from_deployment(found.id, parameters=parameters)

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

    def units(self, store: Store) -> int:
        """How many shards of pairs are committed."""
        return sum("/units/" in path for path in store.list("pairs"))

    def logs(self) -> str:
        """What the workers said."""
        return "\n".join(f"{path}:\n{path.read_text()[-2000:]}" for path in self.folder.glob("*/log"))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, prefect_home: Path) -> Iterator[House]:
    """Comes up by the command that a user types."""
    folder = tmp_path_factory.mktemp("house")
    _install_wheel(folder)
    (folder / "pools.yaml").write_text(POOLS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(prefect_home))
        _cli(folder, "up", "--pools", "pools.yaml", "--port", "0")
        try:
            with standing(), get_client(sync_client=True) as client:
                store = open_store(folder / "store")
                found = House(folder, store, _prompts(store), client)
                try:
                    yield found
                finally:
                    for process in found.started:
                        process.terminate()
                    for process in found.started:
                        process.wait()
        finally:
            _cli(folder, "down")


def _install_wheel(folder: Path) -> None:
    """Beside the tree: what is imported is found there, by PYTHONPATH."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    install = [*pip, "install", "--no-deps", "--target", str(folder / "installed"), str(wheel)]
    subprocess.run(install, check=True, cwd=folder)


def _cli(folder: Path, *arguments: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(folder / "installed"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "flows.cli", *arguments]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def _prompts(store: Store) -> Artifact:
    """With few of one part, and more than are ever reached of the other."""
    made: dict[str, Artifact] = {}
    chain = chain_of(load_recipe("tiny", ["prompts.reflow_count=160", "prompts.distill_count=8192"]))
    for stage_id in ("world", "prompts"):
        node = chain.nodes[stage_id]
        inputs: dict[str, Source] = {role: made[str(one)] for role, one in node.inputs.items()}
        made[stage_id] = run_stage(node.stage, node.config, inputs, store, chain.recipe.performance, silent)
    return made["prompts"]
