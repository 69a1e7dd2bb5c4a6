"""The server of a machine that has none: how it is opened, found and closed."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from flows.server import local
from flows.server.local import Endpoint, local_server, open_door, standing_server, state_folder
from infra.errors import UserError
from tests import ROOT

NOBODY = Endpoint("http://127.0.0.1:9/api", "instaflow:secret")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of this test alone."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_the_records_lie_where_prefect_keeps_its_own_or_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", "~/records")
    assert state_folder() == Path.home() / "records"
    monkeypatch.setenv("PREFECT_HOME", "")
    assert state_folder() == Path.home() / ".instaflow"


def test_an_endpoint_is_told_by_the_environment() -> None:
    assert NOBODY.environment() == {"PREFECT_API_URL": NOBODY.url, "PREFECT_API_AUTH_STRING": "instaflow:secret"}
    assert Endpoint(NOBODY.url).environment() == {"PREFECT_API_URL": NOBODY.url}, "no password, no variable"
    assert not NOBODY.is_up()


def test_a_door_is_open_for_its_user_as_long_as_the_block_runs(home: Path) -> None:
    with open_door(NOBODY) as door:
        assert door == home / "server.json" and stat.S_IMODE(door.stat().st_mode) == 0o600
        assert Endpoint(**json.loads(door.read_text())) == NOBODY
    assert not door.exists()


def test_a_door_that_a_killed_server_left_is_replaced(home: Path) -> None:
    (home / "server.json").write_text("of yesterday, and for all to read")
    with open_door(NOBODY) as door:
        assert stat.S_IMODE(door.stat().st_mode) == 0o600 and "yesterday" not in door.read_text()


def test_the_password_outlives_the_server_and_is_for_its_user_alone(home: Path) -> None:
    made = local._password(home)
    assert len(made) >= 32 and local._password(home) == made
    (kept,) = home.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    kept.write_text("")
    assert len(local._password(home)) >= 32, "nobody comes in without one"


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"address": "x"}', json.dumps({"url": NOBODY.url})])
def test_no_server_stands_behind_a_door_that_leads_nowhere(home: Path, content: str | None) -> None:
    if content is not None:
        (home / "server.json").write_text(content)
    assert standing_server() is None


def test_a_folder_that_takes_no_records_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(UserError, match=r"file/home: cannot write here: Not a directory\..* set PREFECT_HOME"):
        with local_server():
            raise AssertionError("there is no server")


def test_a_server_that_does_not_start_shows_the_end_of_its_log(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports: list[str] = []

    def launch(folder: Path, endpoint: Endpoint, with_ui: bool) -> subprocess.Popen[bytes]:
        ports.append(endpoint.url)
        code = "print(*range(20), 'no such table', sep='\\n'); raise SystemExit(1)"
        with (folder / "server.log").open("wb") as log:
            return subprocess.Popen([sys.executable, "-c", code], stdout=log)

    monkeypatch.setattr(local, "_launch", launch)
    with pytest.raises(UserError) as caught:
        with local_server():
            raise AssertionError("there is no server")
    assert len({*ports}) == 3, "another process may have taken the first port"
    lines = str(caught.value).splitlines()
    assert lines[0].endswith(f"the end of {home}/server.log:") and lines[1:9] == [
        *map(str, range(13, 20)),
        "no such table",
    ]
    assert lines[-1] == "Mend that, or set PREFECT_API_URL to another server."


def test_the_server_finds_the_project_and_its_records(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    found = local._server_environment(home, NOBODY)
    assert found["PYTHONPATH"] == f"{ROOT}{os.pathsep}/elsewhere"
    assert found["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == f"sqlite+aiosqlite:///{home}/prefect.db"
    assert found["PREFECT_SERVER_API_AUTH_STRING"] == NOBODY.auth
    assert found["PREFECT_API_URL"] == NOBODY.url, "its pages ask it there, whatever the port"
    monkeypatch.delenv("PYTHONPATH")
    assert local._server_environment(home, NOBODY)["PYTHONPATH"] == str(ROOT)


@pytest.mark.server
def test_a_server_is_up_while_the_block_runs_and_stands_behind_its_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)  # the server finds the guard without
    meanwhile: list[int] = []
    with local_server(meanwhile=lambda: meanwhile.append(1)) as endpoint:
        assert endpoint.is_up() and meanwhile == [1]
        assert endpoint.url.startswith("http://127.0.0.1:"), "nobody from elsewhere"
        with open_door(endpoint):
            assert standing_server() == endpoint
        assert standing_server() is None
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{endpoint.url}/admin/version")
    assert not endpoint.is_up()


@pytest.mark.server
def test_its_pages_let_one_log_in_on_any_port_and_ask_nothing_of_the_internet() -> None:
    with local_server(with_ui=True) as endpoint:
        root = endpoint.url.removesuffix("/api")
        told = json.loads(_read(f"{root}/ui-settings"))
        assert (told["api_url"], told["auth"], told["default_ui"]) == (endpoint.url, "BASIC", "v1")
        assert told["available_uis"] == ["v1"], "the other one asks an analytics host"
        page = _read(f"{root}/")
        scripts = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert scripts and not [one for one in scripts if "://" in one], "all that it loads is its own"
        assert "amplitude" not in page
        open_to_all = []
        for path, methods in json.loads(_read(f"{endpoint.url}/openapi.json", endpoint.auth))["paths"].items():
            for method in methods:
                request = urllib.request.Request(f"{endpoint.url}{re.sub('{.*?}', 'x', path)}", method=method.upper())
                try:
                    urllib.request.urlopen(request)
                    open_to_all.append(path)
                except urllib.error.HTTPError as error:
                    if error.code != 401:
                        open_to_all.append(path)
        assert {*open_to_all} <= {"/health", "/ready"}, "no other route answers without the password"


def _read(url: str, auth: str | None = None) -> str:
    told = {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"} if auth else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=told)) as answer:
        return str(answer.read().decode())


def test_a_free_port_is_free() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", local._free_port()))
