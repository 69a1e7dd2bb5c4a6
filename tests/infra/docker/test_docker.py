"""The images' files: checked by their own validators, and their scripts run as processes. No engine builds them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import ROOT

DOCKER = ROOT / "infra" / "docker"
BIN = Path(sys.executable).parent
SECRETS = {
    "PREFECT_AUTH": "user:password", "POSTGRES_PASSWORD": "p", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "s",
}  # fmt: skip


def _checked(*command: str | Path) -> None:
    run = subprocess.run([BIN / command[0], *command[1:]], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_dockerfile_is_as_hadolint_wants_it() -> None:
    _checked("hadolint", DOCKER / "Dockerfile")


def test_the_scripts_are_as_shellcheck_wants_them() -> None:
    _checked("shellcheck", *sorted(DOCKER.glob("*.sh")))
    assert all(os.access(script, os.X_OK) for script in DOCKER.glob("*.sh"))


def test_compose_yml_is_of_the_compose_specification() -> None:
    _checked("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DOCKER / "compose.yml")


def test_every_image_has_a_version_and_runs_as_nobody_special() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    stages = {name for _, name in re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)}
    images = {image for image, _ in re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)} - stages
    services = yaml.safe_load((DOCKER / "compose.yml").read_text())["services"]
    images |= {one["image"] for one in services.values() if "build" not in one}
    assert images and all(re.search(r":[^:]*\d", image) and "latest" not in image for image in images)
    assert {"cpu", "cuda"} <= stages and "USER 1000:1000" in text
    assert {one["build"]["target"] for one in services.values() if "build" in one} <= stages


def _expanded(text: str, environment: dict[str, str]) -> str:
    """The file with its variables, as compose has it: `${A}`, `${A:-b}`, and `${A:?words}`, which fails with them."""

    def value(match: re.Match[str]) -> str:
        name, kind, more = match.groups()
        found = environment.get(name, "")
        assert found or kind != ":?", f"{name}: {more}"
        return found or (more if kind == ":-" else "")

    return re.sub(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}", value, text)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_that_is_missing_is_named(name: str) -> None:
    text = (DOCKER / "compose.yml").read_text()
    yaml.safe_load(_expanded(text, SECRETS))
    with pytest.raises(AssertionError, match=f"^{name}: say "):
        _expanded(text, {other: value for other, value in SECRETS.items() if other != name})


def test_no_secret_stands_in_a_file_or_a_command() -> None:
    told = yaml.safe_load(_expanded((DOCKER / "compose.yml").read_text(), dict.fromkeys(SECRETS, "CANARY")))
    for service in told["services"].values():
        assert "CANARY" not in str({name: value for name, value in service.items() if name != "environment"})


def _entrypoint(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    here = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(home), "PYTHONPATH": str(ROOT), **environment}
    command = [DOCKER / "entrypoint.sh", *arguments]
    return subprocess.run(command, cwd=home, env=here, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("command", "given", "missing"),
    [
        ("server", {}, "PREFECT_SERVER_API_AUTH_STRING"),
        ("server", {"PREFECT_SERVER_API_AUTH_STRING": "a:b"}, "PREFECT_SERVER_DATABASE_PASSWORD"),
        ("worker", {}, "PREFECT_API_URL"),
        ("worker", {"PREFECT_API_URL": "http://server:4200/api"}, "PREFECT_API_AUTH_STRING"),
    ],
)
def test_what_a_container_lacks_is_said_in_words(
    tmp_path: Path, command: str, given: dict[str, str], missing: str
) -> None:
    run = _entrypoint(tmp_path, command, **given)
    assert run.returncode == 2 and f"{missing}: is not set: say " in run.stderr and not run.stdout


def test_a_container_runs_any_other_command(tmp_path: Path) -> None:
    run = _entrypoint(tmp_path, "artifacts", "ls", "--store", str(tmp_path / "store"))
    assert run.returncode == 0 and run.stdout.startswith("no artifacts in "), run.stderr
    assert _entrypoint(tmp_path, "prefect", "--version").stdout.strip()[0].isdigit(), "as the job of a pod says it"


_AT_WORK = """
import signal, sys, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
print("ready", flush=True)
while not told:
    time.sleep(0.01)
time.sleep(0.5)
sys.exit(len(told))
"""


def test_draining_tells_once_and_waits_for_the_end() -> None:
    """The process goes on for a while after it was told, and its exit code is how often it was."""
    with subprocess.Popen([sys.executable, "-c", _AT_WORK], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        with subprocess.Popen([DOCKER / "drain.sh", str(process.pid)]) as drain:
            assert process.wait(60) == 1, "once"
            assert drain.wait(60) == 0


def test_the_store_of_compose_asks_for_its_keys(tmp_path: Path) -> None:
    """The command of the service s3, run by the same program."""
    service = yaml.safe_load(_expanded((DOCKER / "compose.yml").read_text(), SECRETS))["services"]["s3"]
    (tmp_path / "buckets" / "instaflow").mkdir(parents=True)
    command = [
        part.replace(":8080", "127.0.0.1:0").replace("/buckets", str(tmp_path / "buckets"))
        for part in service["command"]
    ]
    environment = {**os.environ, **service["environment"], "RCLONE_CONFIG": os.devnull}
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen([BIN / "rclone", *command], env=environment, stderr=output)
    try:
        endpoint = _started(process, log)
        for secret, expected in (("s", 0), ("wrong", 2)):
            keys = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": secret}
            run = _entrypoint(
                tmp_path, "artifacts", "ls", "--store", "s3://instaflow/store", **keys, AWS_DEFAULT_REGION="us-east-1"
            )
            assert run.returncode == expected, run.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _started(process: subprocess.Popen[bytes], log: Path) -> str:
    while process.poll() is None:
        if found := re.search(r"Starting s3 server on \[(http://[^/]+)/?\]", log.read_text()):
            return found[1]
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(log.read_text())
