"""A real server tells a real webhook and a real mail server what went wrong, in words that say what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.blocks.notifications import SlackWebhook
from prefect.blocks.system import Secret
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State, StateType
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from prefect.types import SecretDict

from flows.cli.app import main
from flows.deploy import registering
from flows.deploy.notifications import NEWS, tell_through
from flows.server.children import LOST
from flows.server.pulse import ALIVE
from infra.errors import UserError
from infra.store import open_store
from infra.upkeep.runs import list_runs
from tests import ROOT
from tests.inbox import Inbox, inbox

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def team(api: SyncPrefectClient) -> Iterator[Inbox]:
    """Where the blocks webhook/team and slack-webhook/mail lead."""
    with inbox() as kept:
        url, headers = f"http://127.0.0.1:{kept.http_port}/hook", {"X-Token": "hunter2"}
        Webhook(url=url, headers=SecretDict(headers)).save("team", overwrite=True)
        mail = f"mailto://127.0.0.1:{kept.smtp_port}/?from=instaflow@example.org&to=team@example.org&mode=insecure"
        SlackWebhook(url=mail).save("mail", overwrite=True)
        yield kept
    for news in NEWS:
        for one in api.read_automations_by_name(news.name):
            api.delete_automation(one.id)


def call(team: Inbox, subject: str) -> dict[str, Any]:
    """The call with that subject, once it has come."""
    headers, told = team.wait_for(lambda: next((one for one in team.calls if one[1]["subject"] == subject), None))
    assert headers["X-Token"] == "hunter2"
    assert isinstance(told, dict)
    return told


def fail(folder: Path, stage: str) -> None:
    """A run of which a stage fails."""
    here = {"PYTHONPATH": str(ROOT), "SMALL_STAGES_WEIGHTS": str(folder / "weights"), "SMALL_STAGE_FAILS": stage}
    run = subprocess.run(
        [sys.executable, "-m", "tests.flows.small_stages", "run", "tiny", "--until", stage],
        env=os.environ | here, cwd=folder, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert run.returncode == 2, run.stderr


def test_a_failed_stage_is_told_with_its_error_and_what_to_do(
    team: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registering, "deployments", lambda pools: [])
    monkeypatch.setattr("sys.argv", ["instaflow", "deploy", "--notify", "webhook/team"])
    with pytest.raises(SystemExit, match="0"):
        main()
    fail(tmp_path, "prompts")
    told = call(team, "tiny: prompts failed")
    (run,) = open_store(tmp_path / "store").list("runs")
    run_id = run.removeprefix("runs/").removesuffix(".json")
    assert told["event"] == "instaflow.stage.failed"
    assert told["text"].splitlines()[0] == "prompts: told to fail"
    assert "stage: prompts" in told["text"] and f"instaflow status {run_id}" in told["text"]
    assert told["payload"]["artifact"].startswith("prompts/") and told["payload"]["run"] == run_id


def test_a_run_that_fell_silent_is_told_of(team: Inbox, api: SyncPrefectClient) -> None:
    tell_through("webhook/team")
    run = api.create_flow_run(flow(lambda: None, name="pairs"), name="pairs-student", tags=["recipe:sd15"])
    api.set_flow_run_state(run.id, State(type=StateType.RUNNING), force=True)
    lost = State(type=StateType.CRASHED, name=LOST, message="No sign of life for 90 s.")
    api.set_flow_run_state(run.id, lost, force=True)
    text = call(team, "pairs-student: no sign of life")["text"]
    assert "No sign of life for 90 s." in text and "recipe:sd15" in text and "instaflow worker" in text


@pytest.mark.slow
def test_a_terminal_that_fell_silent_is_told_of(
    team: Inbox, api: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in its first stage; one that ended well is silent, too, and nobody is told."""
    (silent,) = (one for one in NEWS if one.name.endswith("silent terminals"))
    monkeypatch.setattr(silent.trigger, "within", timedelta(seconds=12))
    tell_through("webhook/team")
    assert small_run(tmp_path / "well", seconds=0).wait(240) == 0
    assert signs(api, tmp_path / "well")
    killed = small_run(tmp_path / "killed", seconds=100)  # told of later than the other would be
    team.wait_for(lambda: signs(api, tmp_path / "killed") or None)
    killed.kill()
    killed.wait()
    (record,) = list_runs(open_store(tmp_path / "killed" / "store"))
    told = call(team, "tiny: no sign of life")
    assert f"instaflow status {record.run_id}" in told["text"] and "stage: world" in told["text"]
    assert (told["payload"]["run"], told["payload"]["host"]) == (record.run_id, record.environment["host"])
    assert len([one for _, one in team.calls if one["subject"] == "tiny: no sign of life"]) == 1


def small_run(folder: Path, seconds: float) -> subprocess.Popen[bytes]:
    """A run of a terminal until prompts, each of whose units lasts so long."""
    folder.mkdir()
    here = {"PYTHONPATH": str(ROOT), "SMALL_STAGES_WEIGHTS": str(folder / "weights"), "SMALL_STAGE_S": str(seconds)}
    command = [sys.executable, "-m", "tests.flows.small_stages", "run", "tiny", "--until", "prompts"]
    return subprocess.Popen(command, env=os.environ | here, cwd=folder)


def signs(api: SyncPrefectClient, folder: Path) -> list[dict[str, Any]]:
    """What the server knows of the signs of life of the run there."""
    found = api._client.post("/events/filter", json={"filter": {"event": {"name": [ALIVE]}}})
    runs = {one.removeprefix("runs/").removesuffix(".json") for one in open_store(folder / "store").list("runs")}
    return [one["payload"] for one in found.json()["events"] if one["payload"]["run"] in runs]


def test_a_model_that_got_worse_and_a_budget_are_told_of(team: Inbox, api: SyncPrefectClient) -> None:
    tell_through("webhook/team")
    common = {"recipe": "sd15", "stage": "evaluate", "artifact": "evaluate/0", "run": "r"}
    sentence = "student, 1 step: Fréchet distance 4 ± 0.1, before 3 ± 0.1"
    news = {
        "instaflow.evaluation.worse": {"told": [sentence], "before": "evaluate/1"},
        "instaflow.run.budget": {"error": 'budget: 12.10 of 12 spent: "pairs" is not begun'},
    }
    for event, more in news.items():
        emit_event(event=event, resource={"prefect.resource.id": "instaflow.evaluate"}, payload=common | more)
    EventsWorker.drain_all()
    worse = call(team, "sd15: worse than the last one")["text"]
    assert worse.startswith(sentence) and "before: evaluate/1" in worse
    assert call(team, "sd15: over its budget")["text"].startswith('budget: 12.10 of 12 spent: "pairs" is not begun')


def test_told_twice_nothing_changes_and_another_block_takes_its_place(
    team: Inbox, api: SyncPrefectClient, tmp_path: Path
) -> None:
    def known() -> list[dict[str, Any]]:
        found = [one for news in NEWS for one in api.read_automations_by_name(news.name)]
        return [one.model_dump(mode="json") for one in found]

    tell_through("webhook/team")
    first = known()
    tell_through("webhook/team")
    assert known() == first and len(first) == len(NEWS)
    assert "hunter2" not in str(first) and str(team.http_port) not in str(first), "what is secret stays in the block"

    tell_through("slack-webhook/mail")
    assert [one["id"] for one in known()] == [one["id"] for one in first]
    fail(tmp_path, "world")
    mail = team.wait_for(lambda: next((one for one in team.mails if "world" in one["subject"]), None))
    assert (mail["subject"], mail["to"]) == ("tiny: world failed", "team@example.org")
    body = mail.get_body(("plain", "html"))
    assert body is not None and "world: told to fail" in body.get_content()
    assert not [told for _, told in team.calls if told["subject"] == "tiny: world failed"]


def test_a_block_that_is_not_there_or_sends_nothing_is_refused(api: SyncPrefectClient) -> None:
    with pytest.raises(UserError, match="--notify webhook/nobody: the server has no such block. Make one on its page"):
        tell_through("webhook/nobody")
    Secret(value="x").save("quiet", overwrite=True)  # type: ignore[call-arg]
    with pytest.raises(UserError, match="--notify secret/quiet: sends no messages"):
        tell_through("secret/quiet")
