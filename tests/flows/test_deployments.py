"""Every stage can be deployed and run alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import yaml
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import load_flow_from_entrypoint

from flows import stage_run
from flows.connection import connected
from flows.stage_flows import STAGE_FLOWS, pairs, world
from flows.stages import STAGES
from flows.watch import Watch, watching
from infra.artifact import Artifact
from infra.recipe import Reflow, World
from infra.store import Store
from tests.flows import small_stages

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = {one["name"]: one for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}


def test_every_stage_has_a_flow_and_a_deployment() -> None:
    assert STAGE_FLOWS.keys() == STAGES.keys()
    assert DEPLOYMENTS.keys() == STAGES.keys() | {"instaflow", "miniature"}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_an_entry_point_is_a_flow_with_a_form(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    flow: Flow[..., object] = load_flow_from_entrypoint(DEPLOYMENTS[name]["entrypoint"])
    assert flow.name == name
    form = flow.parameters.properties
    assert {"store"} < form.keys() and flow.description


def test_parameters_are_validated_from_json() -> None:
    parameters = {
        "config": {"steps": 3, "guidance": 5, "part": "distill"},
        "inputs": {"teacher": "mini"},
        "store": "s",
    }
    assert pairs.validate_parameters(parameters)["config"].steps == 3
    with pytest.raises(Exception, match="stepz"):
        pairs.validate_parameters(parameters | {"config": {"stepz": 3}})


@pytest.mark.server
def test_one_stage_flow_runs_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(small_stages.__file__).parent))
    monkeypatch.setitem(STAGES, "world", replace(STAGES["world"], function="small_stages:work"))
    monkeypatch.setattr(stage_run, "BEAT_S", 0.05)
    monkeypatch.setenv("SMALL_STAGE_S", "0.2")
    beats: list[int] = []
    watch = Watch(World(val_images=7), lambda: beats.append(1))
    with connected() as url, watching(watch):
        assert httpx.post(f"{url}/flow_runs/count").status_code == 401, "the password is asked for"
        uri = world(World(val_images=7), {}, str(tmp_path / "store"))
        state = world(World(val_images=7), {}, str(tmp_path / "store"), return_state=True)
    assert isinstance(uri, str)
    assert Artifact.find(Store.open(tmp_path), uri).manifest.config["val_images"] == 7
    assert state.name == "Cached"
    assert len(beats) > 3, "a sign of life now and then while it works"
    assert (watch.unit, watch.units) == ("units", small_stages.UNITS - 1)  # the small stage's first report says one


_IN_ANOTHER_PROCESS = """
import os
import sys
from pathlib import Path
if os.getpid() != {us!r}:  # Prefect reads this file where it is deployed, too
    sys.path[:0] = [{root!r}, {here!r}]
    import small_stages
    os.chdir({folder!r})  # Prefect gives a flow run a folder of its own
    small_stages.install(Path("weights"))
from flows.stage_flows import reflow
"""


@pytest.mark.slow
@pytest.mark.server
def test_a_flow_run_told_to_stop_is_rescheduled_and_loses_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worker runs it: the command and the behaviour of prefect.yaml."""
    job_variables = yaml.safe_load((ROOT / "prefect.yaml").read_text())["definitions"]["placement"]["job_variables"]
    for name, value in {**job_variables["env"], "SMALL_STAGE_TRAINS": "reflow", "SMALL_STAGE_S": "0.02"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    places = {"root": str(ROOT), "here": str(ROOT / "tests" / "flows"), "folder": str(tmp_path)}
    (tmp_path / "entry.py").write_text(_IN_ANOTHER_PROCESS.format(us=os.getpid(), **places))
    config = Reflow(steps=400, checkpoint_every_steps=1000)
    parameters = {"config": config.model_dump(), "inputs": {}, "store": str(tmp_path / "store")}
    with connected(), get_client(sync_client=True) as client:
        deployment = RunnerDeployment.from_entrypoint(f"{tmp_path}/entry.py:reflow", name="one").apply()
        assert isinstance(deployment, UUID)
        flow_run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
        command = [sys.executable, "-m", *job_variables["command"].split(), str(flow_run.id)]
        told = stopped_within(command, tmp_path / "steps")
        assert client.read_flow_run(flow_run.id).state_name == "AwaitingRetry", told
    (checkpoint,) = [path for path in Store.open(tmp_path / "store").list("reflow") if path.endswith(".json")]
    reached = int(checkpoint[-13:-5])
    assert (tmp_path / "steps").read_text().split() == [str(step) for step in range(reached)] and 20 < reached < 400


def stopped_within(command: list[str], steps: Path) -> str:
    """Send SIGTERM after twenty steps; what the process said."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline_s = time.monotonic() + 90
        while not steps.exists() or len(steps.read_text().split()) <= 20:
            assert time.monotonic() < deadline_s
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.1)
        process.terminate()
        return process.communicate(timeout=60)[0]
    finally:
        process.kill()
        process.wait()
