"""A worker is taken away or dies: another goes on, and the pairs are those of an undisturbed run, byte for byte."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import psutil
import pytest
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling
from safetensors.torch import load_file, save_file

from flows.run import sources
from flows.server.arrival import RELEASE
from flows.server.local import standing_server, state_folder
from infra.artifact import Artifact
from infra.release import release
from infra.store import Store, open_store
from tasks.progress import silent
from tasks.sections import PairsJob
from tasks.stage import run_stage
from tasks.stages import stage_of
from tests.workers.conftest import PERFORMANCE, House

JOB = PairsJob(steps=4, shard_size=8)
pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def expected(standing_house: House) -> str:
    """The digest of an undisturbed run."""
    return standing_house.undisturbed(JOB, open_store(standing_house.folder / "undisturbed")).digest


def test_from_the_command_line_of_prefect_as_the_readme_says(house: House) -> None:
    """And a worker with other code refuses."""
    store = house.folder / "typed"
    command = ["deployment", "run", "instaflow/instaflow", "-p", "recipe=tiny", "-p", f"store={store}"]
    choice = ["-p", 'choice={"until": ["world"]}', "--watch"]
    deployed = house.client.read_deployment_by_name("instaflow/instaflow")
    other = house.client.create_flow_run_from_deployment(
        deployed.id,
        parameters={"store": str(store)},
        job_variables={"env": {**deployed.job_variables["env"], RELEASE: "0.0.9+0123456789ab"}},
    )
    prefect = [sys.executable, "-m", "prefect", *command, *choice]
    told = subprocess.run(prefect, cwd=house.folder, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr + house.logs()
    assert [*store.glob("world/*/manifest.json")]
    refused = f"has instaflow {release()}, deployed was instaflow 0.0.9+0123456789ab"
    house.wait(other, "Failed")
    state = house.client.read_flow_run(other.id).state
    assert state is not None and refused in (state.message or "")


def test_one_stage_with_a_new_teacher_from_the_command_line_of_prefect_alone(house: House) -> None:
    """As the README says it: no recipe, no other stage, nothing of ours but the deployment."""
    teacher, store = house.folder / "new-teacher", open_store(house.folder / "new")
    shutil.copytree(sources.WEIGHTS / "teacher", teacher)
    (weights,) = (teacher / "unet").glob("*.safetensors")
    save_file({name: 1.01 * value for name, value in load_file(weights).items()}, weights)
    inputs = json.dumps({"teacher": str(teacher), "prompts": house.prompts.uri})
    told = {"config": JOB.model_dump_json(), "inputs": inputs, "store": store.url}
    command = [sys.executable, "-m", "prefect", "deployment", "run", "pairs/cpu", "--watch"]
    typed = [*command, *(part for name, value in told.items() for part in ("-p", f"{name}={value}"))]
    ran = subprocess.run(typed, cwd=house.folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr + house.logs()
    given = {"teacher": sources.given("model", str(teacher)), "prompts": house.prompts}
    made = run_stage(stage_of("pairs"), JOB, given, open_store(house.folder / "by-hand"), PERFORMANCE, silent)
    assert Artifact.find(store, made.base).digest == made.digest


def test_a_worker_that_is_taken_away_hands_over(house: House, expected: str) -> None:
    """SIGTERM to one, Ctrl-C to the terminal of the next; a third one finishes."""
    store, workers = open_store(house.folder / "handed-over"), [house.worker("gpu-1", "1")]
    run = house.pairs("gpu", JOB, store)
    for number, (way, enough) in enumerate([(signal.SIGTERM, 2), (signal.SIGINT, 8)], start=2):
        house.until(lambda: house.units(store) >= enough)  # noqa: B023  # called at once
        before = house.units(store)
        assert house.supervisor(run).ppid() == workers[-1].pid
        os.killpg(workers[-1].pid, way)
        assert workers[-1].wait(240) == 0, house.logs()
        assert house.units(store) >= before and house.state(run) in ("AwaitingRetry", "Scheduled")
        workers.append(house.worker(f"gpu-{number}", "1"))
    house.wait(run, "Resumed")
    _require_whole(house, run, store, expected)


def test_a_node_that_is_lost_is_noticed_and_no_other(house: House, expected: str) -> None:
    """kill -9 of worker and engine; another finishes. A run that is well is let alone, until it is cancelled."""
    lost, well = open_store(house.folder / "lost"), open_store(house.folder / "well")
    endless = house.pairs("cpu", PairsJob(steps=4, shard_size=8, part="distill"), well)
    worker, run = house.worker("gpu-8", "8"), house.pairs("gpu", JOB, lost)
    house.until(lambda: house.units(lost) >= 2)
    node = psutil.Process(worker.pid)
    for process in [node, *node.children(recursive=True)]:
        process.kill()
    worker.wait()
    kept = house.units(lost)
    assert house.state(run) == "Running", "nobody could tell"
    house.worker("gpu-9", "8")
    house.wait(run, "Resumed")
    assert 2 <= kept < house.units(lost)
    _require_whole(house, run, lost, expected)

    found = house.client.read_flow_run(endless.id)
    assert (found.state_name, found.run_count) == ("Running", 1), "no false alarm"
    engine, units = house.supervisor(endless).children(recursive=True), house.units(well)
    house.client.set_flow_run_state(endless.id, Cancelling())
    house.wait(endless, "Cancelled")
    assert not psutil.wait_procs(engine, timeout=240)[1]
    assert house.units(well) >= units > 0
    _require_nothing_runs(house, endless)


def test_a_server_that_dies_of_what_is_up_is_started_again(house: House) -> None:
    """kill -9 of the server of `instaflow up`: whoever comes then finds it, and the workers go on."""
    up = json.loads((state_folder() / "up.json").read_text())
    (server,) = (one for one in psutil.Process(up["pid"]).children() if "server" in one.cmdline())
    for process in (server, *server.children(recursive=True)):
        process.kill()
    house.until(lambda: not is_up())
    house.until(is_up)
    store = open_store(house.folder / "after")
    house.wait(house.pairs("cpu", JOB, store), "Completed")
    assert house.units(store) == 20
    assert "is started again" in (state_folder() / "up.log").read_text()


def is_up() -> bool:
    """Whether the server of this machine answers."""
    return standing_server() is not None


def _require_whole(house: House, run: FlowRun, store: Store, digest: str) -> None:
    (manifest,) = [path for path in store.list("pairs") if path.endswith("manifest.json")]
    assert Artifact.find(store, manifest.removesuffix("/manifest.json")).digest == digest
    _require_nothing_runs(house, run)


def _require_nothing_runs(house: House, run: FlowRun) -> None:
    """Of what it did in any attempt."""

    def over() -> bool:
        mine = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        tasks = house.client.read_task_runs(flow_run_filter=mine)
        return bool(tasks) and all(task.state is not None and task.state.is_final() for task in tasks)

    house.until(over)
