"""One stage as a Prefect flow: its form, its run, its records."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.deployments.runner import RunnerDeployment

from flows.deploy.deployments import COMMAND, ENVIRONMENT
from flows.run import stage_flow
from flows.run.recording import ALONE
from flows.run.stage_flow import STAGE_FLOWS
from flows.run.watch import Watch, watching
from flows.server.connection import connected
from infra.artifact import Artifact
from infra.errors import UserError
from infra.store import Store, open_store
from infra.upkeep.runs import list_runs, read_ref
from infra.upkeep.sweep import garbage
from tasks.sections import Adopt, PairsJob, Performance, ReflowJob, ReflowPhase, World
from tasks.stages import STAGES, Stage
from tests import ROOT
from tests.flows import small_stages
from tests.flows.small_stages import small


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_a_stage_is_a_flow_with_its_own_form(stage: Stage) -> None:
    made = STAGE_FLOWS[stage.name]
    assert made.name == stage.name
    assert [*made.parameters.properties] == ["config", "inputs", "store", "performance", "name", "gpus", "sent"]
    assert made.parameters.required == ["config", "inputs", "store"]
    assert {*made.parameters.definitions[stage.section.__name__]["properties"]} == {*stage.section.model_fields}
    assert all(f"{role}" in (made.description or "") for role in (*stage.inputs, stage.does))


def test_parameters_are_validated_from_json() -> None:
    parameters = {
        "config": {"steps": 3, "guidance": 5, "part": "distill"},
        "inputs": {"teacher": "mini"},
        "store": "s",
    }
    pairs = STAGE_FLOWS["pairs"]
    found = pairs.validate_parameters(parameters)
    assert found["config"].steps == 3
    assert (found["performance"], found["name"], found["gpus"]) == (Performance(), "pairs", 1)
    with pytest.raises(Exception, match="gpus"):
        pairs.validate_parameters(parameters | {"gpus": 0})
    with pytest.raises(Exception, match="stepz"):
        pairs.validate_parameters(parameters | {"config": {"stepz": 3}})
    assert pairs.validate_parameters(parameters | {"name": "pairs-of_mine.2"})["name"] == "pairs-of_mine.2"
    for name in ("mine", "pairs-", "pairs-../x", "pairsx"):
        with pytest.raises(Exception, match="name"):
            pairs.validate_parameters(parameters | {"name": name})


@pytest.mark.parametrize("address", ["https://host/x.txt?sig=hunter2", "s3://key:hunter2@bucket/x.txt"])
def test_a_secret_in_a_parameter_is_refused_and_not_repeated(address: str, tmp_path: Path) -> None:
    config = {"source": "text", "path": address}
    with pytest.raises(Exception, match=r"prompts|config") as caught:
        STAGE_FLOWS["prompts"].validate_parameters({"config": config, "inputs": {}, "store": "s"})
    assert "the URL carries" in str(caught.value) and "hunter2" not in str(caught.value)
    with pytest.raises(UserError, match="the URL carries") as refused:
        stage_flow.run("adopt", Adopt(), {"teacher": address}, str(tmp_path), Performance())
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", ["pairs", "clip"])
def test_what_several_devices_cannot_do_together_is_refused(name: str, tmp_path: Path) -> None:
    config = STAGES[name].section()
    with pytest.raises(UserError, match=f"stage {name}: gpus: found 2, expected 1: only reflow, distill"):
        stage_flow.run(name, config, {}, str(tmp_path), Performance(), gpus=2)


@pytest.mark.server
def test_one_stage_flow_runs_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(STAGES, "world", small(STAGES["world"]))
    monkeypatch.setattr(stage_flow, "BEAT_S", 0.05)
    monkeypatch.setenv("SMALL_STAGE_S", "0.2")
    store, beats = open_store(tmp_path / "store"), list[int]()
    world, watch = STAGE_FLOWS["world"], Watch(STAGES["world"].extent(World(), ()), lambda: beats.append(1))
    with connected() as url:
        with pytest.raises(
            UserError, match=r"^stage pairs: inputs: prompts is missing, found teacher\. Name it: an art"
        ):
            STAGE_FLOWS["pairs"](PairsJob(samples=2), {"teacher": "mini"}, str(tmp_path / "other"))
        assert httpx.post(f"{url}/flow_runs/count").status_code == 401, "the password is asked for"
        uri = world(World(val_images=7), {}, store.url)
        state = world(World(val_images=7), {}, store.url, return_state=True)
        assert isinstance(uri, str)
        made = Artifact.find(store, uri)
        assert made.manifest.config["val_images"] == 7 and state.name == "Cached"
        _require_a_run_like_any_other(store, made)
        with watching(watch):  # as a runner calls it
            world(World(val_images=8), {}, store.url)
    assert len(list_runs(store)) == 2, "who calls a stage writes it down"
    assert len(beats) > 3, "a sign of life now and then while it works"
    assert (watch.unit, watch.units) == ("units", small_stages.UNITS)


def _require_a_run_like_any_other(store: Store, made: Artifact) -> None:
    first, again = list_runs(store)
    assert {(run.recipe, run.state, run.exit) for run in (first, again)} == {(ALONE, "done", 0)}
    ((one,), (other,)) = (first.stages, again.stages)
    assert (one.stage, one.artifact, one.state, one.units) == ("world", made.base, "done", small_stages.UNITS)
    assert (other.artifact, other.state) == (made.base, "cached")
    ref = read_ref(store, ALONE, "world")
    assert ref is not None and (ref.artifact, ref.digest) == (made.base, made.digest)
    assert garbage(store, datetime.now(UTC) + timedelta(days=1)) == []


_IN_ANOTHER_PROCESS = """
import os
import sys
from pathlib import Path
if os.getpid() != {us!r}:  # Prefect reads this file where it is deployed, too
    sys.path.insert(0, {root!r})
    from tests.flows import small_stages
    os.chdir({folder!r})  # Prefect gives a flow run a folder of its own
    small_stages.install(Path("weights"))
from flows.stage_flows import reflow
"""


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(900)
@pytest.mark.parametrize("gpus", [1, 2])
def test_a_flow_run_told_to_stop_is_rescheduled_and_loses_no_step(
    gpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worker runs it: the command and the behaviour that are deployed."""
    for name, value in {**ENVIRONMENT, "SMALL_STAGE_TRAINS": "reflow", "SMALL_STAGE_S": "0.02"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    places = {"root": str(ROOT), "folder": str(tmp_path)}
    (tmp_path / "entry.py").write_text(_IN_ANOTHER_PROCESS.format(us=os.getpid(), **places))
    config = ReflowJob(phases=(ReflowPhase(steps=400),), checkpoint_every_steps=1000)
    parameters = {"config": config.model_dump(), "inputs": {}, "store": str(tmp_path / "store"), "gpus": gpus}
    with connected(), get_client(sync_client=True) as client:
        deployment = RunnerDeployment.from_entrypoint(f"{tmp_path}/entry.py:reflow", name="one").apply()
        assert isinstance(deployment, UUID)
        flow_run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
        command = [sys.executable, "-m", *COMMAND.split(), str(flow_run.id)]
        told = stopped_within(command, tmp_path / "steps")
        assert client.read_flow_run(flow_run.id).state_name == "AwaitingRetry", told
    store = open_store(tmp_path / "store")
    (record,) = list_runs(store)
    assert (record.recipe, record.state, record.exit) == (ALONE, "cancelled", "SIGTERM")
    assert [(stage.stage, stage.state) for stage in record.stages] == [("reflow", "cancelled")]
    assert garbage(store, datetime.now(UTC) + timedelta(days=1)) == [], "its checkpoint is waited for"
    (checkpoint,) = [path for path in store.list("reflow") if path.endswith(".json")]
    reached = int(checkpoint[-13:-5])
    begun = [int(step) for step in (tmp_path / "steps").read_text().split()]
    tried = [0] * gpus if gpus > 1 else []  # by each rank, before others wait for it
    assert sorted(begun) == sorted([*tried, *(step for step in range(reached) for _ in range(gpus))])
    assert 20 / gpus - 1 < reached < 400


def stopped_within(command: list[str], steps: Path) -> str:
    """Send SIGTERM after twenty steps; what the process said."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline_s = time.monotonic() + 200
        while not steps.exists() or len(steps.read_text().split()) <= 20:
            assert time.monotonic() < deadline_s
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.1)
        process.terminate()
        return process.communicate(timeout=60)[0]
    finally:
        process.kill()
        process.wait()
