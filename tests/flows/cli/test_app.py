"""The command line, end to end over small stages and a real Prefect server."""

from __future__ import annotations

import json
import signal
import sqlite3
import stat
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from flows.cli.app import main
from flows.cli.status_table import standing
from flows.recipes import load_recipe
from flows.server.local import Endpoint, local_server, open_door
from infra.artifact import Artifact
from infra.store import open_store
from infra.upkeep.runs import list_runs
from tasks.progress import silent
from tasks.sections import Performance
from tasks.stage import run_stage
from tasks.stages import STAGES
from tests.faults import FaultyProxy
from tests.flows.conftest import Cli, Start
from tests.flows.small_stages import trained
from tests.infra.chain import make
from tests.infra.reaching import use
from tests.s3 import BUCKET, S3Server
from tests.tasks.small_run import commit

CHAIN = [
    "world",
    "prompts",
    "pairs-1",
    "reflow-1",
    "pairs-student",
    "distill",
    "pairs-direct",
    "direct",
    "real",
    "evaluate",
    "report",
]


def _rows(prefect_home: Path, query: str) -> list[tuple[str, ...]]:
    with sqlite3.connect(f"file:{prefect_home}/prefect.db?mode=ro", uri=True) as database:
        return database.execute(query).fetchall()


@pytest.fixture(scope="module")
def server_up(prefect_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What a command needs to find a server that is up: its start takes seconds, and few tests are about it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(prefect_home))
        with local_server() as endpoint:
            home = tmp_path_factory.mktemp("server-up")
            patch.setenv("PREFECT_HOME", str(home))
            with open_door(endpoint):
                yield {"PREFECT_HOME": str(home)}


MOST_REQUESTS = 40
"""Of a run of the tiny recipe in which all is cached."""


@pytest.fixture
def proxy(rclone: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Before an S3 server, which the commands have a store of their own on."""
    use(rclone, rclone.endpoint, monkeypatch, tmp_path)
    monkeypatch.setenv("INSTAFLOW_STORE", f"s3://{BUCKET}/{uuid.uuid4().hex}")
    with FaultyProxy(rclone.endpoint) as found:
        yield found


@pytest.mark.server
def test_a_run_leaves_report_records_and_a_cache(
    cli: Cli, tmp_path: Path, prefect_home: Path, proxy: FaultyProxy
) -> None:
    flows_before = len(_rows(prefect_home, "select id from flow_run")) if (prefect_home / "prefect.db").exists() else 0
    first = cli("run", "tiny", "--out", "demo")
    assert first.returncode == 0, first.stderr
    *_, table_row, _, last = first.stdout.splitlines()
    assert table_row.split()[:4] == ["teacher", "2", "3", "0.25"] and last == "report: demo/report.html"
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {
        "report.html", "contact_sheet.png", "metrics.json", "metrics.parquet",
    }  # fmt: skip

    second = cli("run", "tiny", AWS_ENDPOINT_URL=proxy.endpoint)
    manifests = [line.split()[1] for line in proxy.asked if line.startswith("GET") and "manifest.json" in line]
    assert len(proxy.asked) <= MOST_REQUESTS and len({*manifests}) == len(manifests) == len(CHAIN), proxy.asked
    assert [line.split()[:2] for line in second.stderr.splitlines()] == [[stage, "cached"] for stage in CHAIN]

    runs = _rows(prefect_home, "select name, state_name from flow_run order by created")[flows_before:]
    assert sorted(runs) == sorted(
        [("tiny of mini", "Completed")] * 2 + [(stage, state) for stage in CHAIN for state in ("Completed", "Cached")]
    )
    tasks = _rows(prefect_home, "select state_name from task_run where name not glob '*-[0-9]'")
    assert tasks.count(("Completed",)) >= len(CHAIN), "no task run is lost when the server stops"
    keys = {key for (key,) in _rows(prefect_home, "select key from artifact_collection")}
    assert {f"tiny-mini-{what}" for what in ("pairs-1", "pairs-1-progress", "report", "lineage")} <= keys
    assert _rows(prefect_home, "select count(*) from artifact where key is not null and description is null") == [(0,)]

    status = cli("status")
    assert status.stdout.count("done") == 2 and "tiny" in status.stdout
    new, old = json.loads(cli("status", "--json").stdout)
    assert old["started_at"] < new["started_at"] and not old["is_lost"]
    assert json.loads(cli("status", old["run_id"], "--json").stdout) == old
    planned = json.loads(cli("plan", "tiny", "--json").stdout)
    assert [(line["id"], line["state"]) for line in planned] == [(stage, "cached") for stage in CHAIN]
    exported = cli("export", f"distill/{_fingerprint(planned, 'distill')[:6]}", "student")
    assert exported.returncode == 0 and (tmp_path / "student" / "model_index.json").is_file()
    assert cli("report", "tiny", "--out", "again").stdout.endswith("report: again/report.html\n")


def _fingerprint(planned: list[dict[str, str]], stage_id: str) -> str:
    return next(line["fingerprint"] for line in planned if line["id"] == stage_id)


@pytest.mark.server
def test_an_algorithm_without_a_report_ends_with_what_it_made(
    cli: Cli, tmp_path: Path, server_up: dict[str, str]
) -> None:
    recipe = "name: ours\nalgorithm: miniature\ntrain_teacher: {steps: 5, warmup_steps: 1}\ntrain_clip: {steps: 5}\n"
    (tmp_path / "ours.yaml").write_text(recipe)
    told = cli("run", "ours.yaml", **server_up)
    assert told.returncode == 0, told.stderr
    assert Artifact.find(open_store(tmp_path / "store"), told.stdout.strip()).stage == "clip"


@pytest.mark.server
def test_the_miniature_models_are_put_where_they_are_told(cli: Cli, tmp_path: Path, server_up: dict[str, str]) -> None:
    told = cli("mini", "--set", "train_clip.steps=7", "--out", "embedded", **server_up)
    assert (told.returncode, told.stdout) == (0, "embedded\n"), told.stderr
    assert [line.split()[0] for line in told.stderr.splitlines()] == ["world", "teacher", "clip", "clip-judge"]
    assert {path.name for path in (tmp_path / "embedded").iterdir()} == {
        "teacher", "teacher.manifest.json", "clip", "clip.manifest.json", "judge", "judge.manifest.json",
    }  # fmt: skip
    assert json.loads((tmp_path / "embedded" / "clip.manifest.json").read_text())["config"]["steps"] == 7
    assert (tmp_path / "embedded" / "clip" / "model_index.json").is_file()
    planned = {line["id"]: line for line in json.loads(cli("plan", "weights", "--json").stdout)}
    assert [planned[name]["state"] for name in ("world", "teacher")] == ["cached", "cached"]


@pytest.mark.server
def test_two_operators_at_once_get_one_result(start: Start, tmp_path: Path) -> None:
    both = [start("run", "tiny", "--out", out, SMALL_STAGE_S="0.1") for out in ("a", "b")]
    for process in both:
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
    one, other = ({path.name: path.read_bytes() for path in (tmp_path / out).iterdir()} for out in ("a", "b"))
    assert one == other and "report.html" in one
    assert [run.state for run in list_runs(open_store(tmp_path / "store"))] == ["done", "done"]


@pytest.mark.server
def test_keys_are_nowhere(
    cli: Cli, tmp_path: Path, prefect_home: Path, rclone: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSTAFLOW_CACHE", str(tmp_path / "cache"))
    for name, value in (keys := rclone.environment()).items():
        monkeypatch.setenv(name, value)
    at = ("--store", f"s3://{BUCKET}/{uuid.uuid4().hex}")
    commands = {"plan": 0, "run": 0, "status": 0, "artifacts": 0, "doctor": 1}  # the small weights have no manifest
    arguments = {"plan": ["tiny"], "run": ["tiny"], "artifacts": ["ls"]}
    told = {name: cli(name, *arguments.get(name, []), *at) for name in commands}
    assert {name: one.returncode for name, one in told.items()} == commands, told
    wrong = cli("run", "tiny", *at, AWS_SECRET_ACCESS_KEY="wrongwrong")
    assert wrong.returncode == 2 and "SignatureDoesNotMatch" in wrong.stderr

    store = open_store(at[1])
    written = {path: store.read(path) for path in store.list()}
    written |= {str(path): path.read_bytes() for path in _files(tmp_path) + _files(prefect_home)}
    written |= {name: (one.stdout + one.stderr).encode() for name, one in [*told.items(), ("wrong", wrong)]}
    assert any(path.endswith("prefect.db") for path in written) and any("runs/" in path for path in written)
    for key in (keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], "wrongwrong"):
        assert not [path for path, content in written.items() if key.encode() in content]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.server
def test_a_stage_that_fails_is_told_in_one_paragraph_and_resumed(
    cli: Cli, tmp_path: Path, server_up: dict[str, str]
) -> None:
    failed = cli("run", "tiny", SMALL_STAGE_FAILS="reflow", **server_up)
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1] == "instaflow: reflow: told to fail"
    assert "Traceback" not in failed.stderr
    assert "failed" in cli("status").stdout
    (record,) = list_runs(open_store(tmp_path / "store"))
    assert (record.state, record.exit, record.error) == ("failed", 2, "UserError: reflow: told to fail")
    last = record.stages[-1]
    assert (last.stage, last.state, last.error) == ("reflow-1", "failed", record.error) and last.seconds > 0
    again = cli("run", "tiny", **server_up)
    assert again.returncode == 0
    assert [line.split()[0] for line in again.stderr.splitlines() if "cached" in line] == CHAIN[:3]


@pytest.mark.server
def test_a_killed_command_line_takes_its_server_along(start: Start, tmp_path: Path) -> None:
    process, store = start("run", "tiny", SMALL_STAGE_S="30"), open_store(tmp_path / "store")
    server = _server_of(process.pid)
    _wait_for(lambda: any(run.stages for run in list_runs(store)))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not psutil.wait_procs(server, timeout=15)[1]
    (record,) = list_runs(store)
    assert (record.state, record.exit, record.pid) == ("running", None, process.pid)
    assert standing(record, datetime.now(UTC)) == "running world"
    assert standing(record, datetime.now(UTC) + timedelta(minutes=10)).startswith("lost (last sign of life 10 min")


@pytest.mark.slow
@pytest.mark.server
def test_a_training_told_to_stop_loses_no_step(
    start: Start, cli: Cli, tmp_path: Path, server_up: dict[str, str]
) -> None:
    steps, store = tmp_path / "steps", open_store(tmp_path / "store")
    command = ("run", "tiny", "--until", "reflow-1", "--set", "reflow.phases=[{steps: 400}]")
    rare = ("--set", "reflow.checkpoint_every_steps=1000")
    process = start(*command, *rare, SMALL_STAGE_TRAINS="reflow", SMALL_STAGE_S="0.02", **server_up)
    _wait_for(lambda: steps.exists() and len(steps.read_text().split()) > 20)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM, told
    assert "reflow-1: stopping when the step under way is done" in told
    (record,) = list_runs(store)
    assert (record.state, record.exit, record.stages[-1].state) == ("cancelled", "SIGTERM", "cancelled")

    (checkpoint,) = [path for path in store.list("reflow") if path.endswith(".json")]
    reached = int(checkpoint[-13:-5])
    assert steps.read_text().split() == [str(step) for step in range(reached)] and 20 < reached < 400
    again = cli(*command, *rare, SMALL_STAGE_TRAINS="reflow", **server_up)
    assert again.returncode == 0, again.stderr
    assert steps.read_text().split() == [str(step) for step in range(400)], "each step once"
    done = list_runs(store)[-1]
    assert (done.state, done.exit) == ("done", 0)
    assert (done.stages[-1].unit, done.stages[-1].units) == ("steps", 400 - reached)
    assert {path.name for path in tmp_path.glob("store/reflow/*/data/*")} == {_straight_through(tmp_path)}


def _straight_through(folder: Path) -> str:
    """The name, which carries the hash, of what the same training makes when nothing stops it."""
    config = load_recipe("tiny", ["reflow.phases=[{steps: 400}]", "reflow.checkpoint_every_steps=1000"]).reflow
    (folder / "whole").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "whole")
        store = open_store(folder / "whole")
        made = run_stage(trained(STAGES["reflow"]), config, {}, store, Performance(), silent)
    return Path(made.files()[0].path).name


@pytest.mark.server
def test_ctrl_c_is_a_cancelled_run(start: Start, cli: Cli, tmp_path: Path) -> None:
    process = start("run", "tiny", SMALL_STAGE_S="30")
    server = _server_of(process.pid)
    _wait_for((tmp_path / "working").exists)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert not psutil.wait_procs(server, timeout=15)[1]
    assert "cancelled" in cli("status").stdout


@pytest.mark.server
def test_a_standing_server_takes_the_records_of_later_runs(start: Start, cli: Cli, prefect_home: Path) -> None:
    process = start("server", "--port", "0")
    door = prefect_home / "server.json"
    _wait_for(door.exists)
    assert stat.S_IMODE(door.stat().st_mode) == 0o600
    endpoint = Endpoint(**json.loads(door.read_text()))
    assert cli("run", "tiny").returncode == 0
    assert endpoint.is_up(), "a run leaves the standing server alone"
    secret, kept = (endpoint.auth or "").partition(":")[2].encode(), prefect_home / "server-password"
    for path in prefect_home.rglob("*"):
        assert path in (door, kept) or not path.is_file() or secret not in path.read_bytes(), path
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert not door.exists()


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `instaflow ARGUMENTS` says, in this process, before it ends with exit code 2."""

    def told(*arguments: str) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # the command would set it for good
        monkeypatch.setattr(sys, "argv", ["instaflow", *arguments])
        with pytest.raises(SystemExit, match="2"):
            main()
        said = capsys.readouterr()
        return said.err + said.out

    return told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "tinny"], "recipe tinny: there is no such recipe. Expected one of coco2014-30k"),
        (["plan", "tiny", "--set", "pairs.stepz=1"], "pairs.stepz: unknown key. Did you mean pairs.steps?"),
        (["run", "tiny", "--only", "prompts,pairs-1"], "stage prompts needs world, which is left out of this run"),
        (["run", "tiny", "--force", "clip"], "--force clip: this recipe has no such stage"),
        (["plan", "tiny", "--set", "teacher.path=/nowhere"], "/nowhere: no such file or folder"),
        (["plan", "tiny", "--set", "algorithm=miniature"], "--set algorithm=miniature: the recipe's file says which"),
        (["plan", "other.yaml"], "other.yaml: algorithm: found 'instaflw', expected one of evaluation, instaflow,"),
        (["generate", "a large red circle"], "recipe mini has no distill here. Run it first"),
        (["generate", "a ring", "--model", "2-rf", "--recipe", "two.yaml"], "recipe two has no reflow-2 here"),
        (
            ["generate", "a ring", "--model", "studnet"],
            "model studnet: there is no such model. Expected teacher, 2-rf",
        ),
        (["plan", "tiny", "--set", "prompts={source: text, path: gone.txt}"], "prompts.path: gone.txt: no such file"),
        (["plan", "tiny", "--set", "pairs.steps=4", "--set", "pairs.steps=5"], "--set pairs.steps=4: contradicted by"),
        (["plan", "deep.yaml"], "deep.yaml: nested too deeply"),
        (["plan", "tiny", "--set", "coco.path=elsewhere"], "`coco.path` (elsewhere) has no effect beside `world`"),
        (["report"], "recipe mini has no report here"),
        (["export", "distill/ffff", "student"], "artifact distill/ffff: nothing of that name"),
    ],
)
def test_a_users_mistake_is_a_sentence(
    told: Callable[..., str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "other.yaml").write_text("name: other\nalgorithm: instaflw\n")
    (tmp_path / "two.yaml").write_text("name: two\nreflow: {rounds: 2}\n")
    (tmp_path / "deep.yaml").write_text("{a: " * 3000 + "1" + "}" * 3000)
    assert message in told(*arguments)


@pytest.fixture
def named(tmp_path: Path) -> dict[str, str]:
    """Two artifacts in the store: `PAIRS`, which is no model, and `STUDENT`; beside it what is somebody's."""
    store = open_store(tmp_path / "store")
    (tmp_path / "a-file").write_text("mine")
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "model_index.json").write_text("{}")
    student = commit(store, "distill", {"model": tmp_path / "teacher"})
    return {"PAIRS": make(store, "pairs", {}).base, "STUDENT": student.base}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "ring", "--model", "PAIRS"], "holds no folder model; it has shard-000000.tar, shard-000001.tar."),
        (["export", "STUDENT", "a-file"], "a-file: is a file. Name a new folder, so that nothing of yours is replaced"),
        (["export", "STUDENT", "/proc/x"], "/proc/x: cannot write here: "),
        (["artifacts", "show", "../abc"], "artifact ../abc: nothing of that name in "),
        (["artifacts", "gc", "--grace", "9999999999d"], "--grace 9999999999d: expected a number and s, m, h or d"),
        (["server", "--port", "99999"], "Invalid value for '--port'"),
        (["mini", "--out", "."], "teacher: would be replaced, and is not what was put there before"),
    ],
)
def test_a_wrong_name_is_a_sentence(
    told: Callable[..., str], tmp_path: Path, named: dict[str, str], arguments: list[str], message: str
) -> None:
    assert message in told(*(named.get(one, one) for one in arguments))
    assert (tmp_path / "a-file").read_text() == "mine" and (tmp_path / "teacher" / "model_index.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["artifacts", "show", "../../abc/0"], "artifact ../../abc/0: nothing of that name in "),
        (["artifacts", "gc", "--grace", "999999d"], "--grace 999999d: expected a number and s, m, h or d"),
        (["export", "PAIRS", "out"], "holds no folder to export; a teacher, adopt, reflow, distill, direct does."),
        (["export", "STUDENT", "a-file/in"], "a-file/in: cannot write here: "),
        (["status", "--store", "s3://bucket/path?sig=hunter2"], "store s3://bucket/path: the URL carries a query (?"),
        (["plan", "tiny", "--set", "teacher.path=s3://k:hunter2@b/x"], "teacher.path: path s3://b/x: the URL carries"),
        (
            ["plan", "tiny", "--set", "prompts={source: text, path: 'https://h/x.txt?sig=hunter2'}"],
            "prompts.path: path https://h/x.txt: the URL carries a query (?...)",
        ),
        (["generate", "a", "--model", "s3://b/distill/0?sig=hunter2"], "artifact s3://b/distill/0: the URL carries a"),
        (
            ["artifacts", "cp", "PAIRS", "s3://k:hunter2@b/x"],
            "store s3://b/x: the URL carries a user name and password",
        ),
        (["evaluate", "s3://k:hunter2@b/x/0", "--preset", "mini-1k"], "artifact s3://b/x/0: the URL carries a user"),
    ],
)
def test_a_wrong_place_is_a_sentence_and_no_secret_is_repeated(
    told: Callable[..., str], named: dict[str, str], arguments: list[str], message: str
) -> None:
    said = told(*(named.get(one, one) for one in arguments))
    assert message in said and "hunter2" not in said


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:9/api", "http://127.0.0.1:9/api: no server answers there"),
        ("http://127.0.0.1:port/api", "http://127.0.0.1:...: the URL carries a port that is no number, or a password"),
        ("127.0.0.1:9/api", "127.0.0.1:9/api: no server answers there: "),
        ("http://me:hunter2@127.0.0.1:9/api", "http://127.0.0.1:9/api: the URL carries a user name and password"),
        ("http://127.0.0.1:9/api?token=hunter2", "http://127.0.0.1:9/api: the URL carries a query (?...)"),
    ],
)
def test_an_api_that_does_not_answer_is_named(cli: Cli, url: str, message: str) -> None:
    run = cli("run", "tiny", PREFECT_API_URL=url)
    assert run.returncode == 2 and f"PREFECT_API_URL {message}" in run.stderr, run
    assert "Traceback" not in run.stderr and "hunter2" not in run.stderr


@pytest.mark.server
def test_a_server_that_wants_a_password_says_so_and_the_password_is_not_repeated(cli: Cli) -> None:
    with local_server() as endpoint:
        locked = (
            f"PREFECT_API_URL {endpoint.url}: the server refuses us (HTTP 401): it asks for a password, or for another"
        )
        wrong = {"PREFECT_API_URL": endpoint.url, "PREFECT_API_AUTH_STRING": "instaflow:hunter2"}
        open_url = endpoint.url.replace("http://", f"http://{endpoint.auth}@")
        for settings, message in (
            ({"PREFECT_API_URL": endpoint.url}, locked),
            (wrong, locked),
            (
                {"PREFECT_API_URL": open_url},
                f"PREFECT_API_URL {endpoint.url}: the URL carries a user name and password",
            ),
        ):
            told = cli("run", "tiny", **settings)
            assert told.returncode == 2 and message in told.stderr and "Traceback" not in told.stderr, told
            for secret in ("hunter2", (endpoint.auth or "").partition(":")[2]):
                assert secret not in told.stderr + told.stdout
        assert cli("run", "tiny", "--only", "world", **endpoint.environment()).returncode == 0


def _server_of(pid: int) -> list[psutil.Process]:
    found: list[psutil.Process] = []

    def two() -> bool:
        found[:] = psutil.Process(pid).children(recursive=True)
        return len(found) >= 2  # the guard and the server

    _wait_for(two)
    return found


def _wait_for(condition: object, within_s: float = 120.0) -> None:
    assert callable(condition)
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, condition
        time.sleep(0.1)
