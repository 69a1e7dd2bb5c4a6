"""The Prefect server of a machine that has none: a real one on SQLite, on loopback, behind a password.

Real, because the ephemeral server of Prefect 3.8 loses task-run records at exit. Its database outlives it:
`instaflow server` opens the same records later.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from flows.server.pages import pages_folder
from infra.errors import UserError
from infra.private import write_private

_START_WITHIN_S = 120.0  # the first start migrates the database: 14 s on two idle cores
_STOP_WITHIN_S = 15.0
_ATTEMPTS = 3  # another process may take the free port between our look and the server's


@dataclass(frozen=True)
class Endpoint:
    """A Prefect API and what opens it, "user:password" or nothing."""

    url: str
    auth: str | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.removesuffix("/api").rpartition(":")[2])

    def environment(self) -> dict[str, str]:
        """The environment of a process that talks to it."""
        found = {"PREFECT_API_URL": self.url}
        return found | ({"PREFECT_API_AUTH_STRING": self.auth} if self.auth else {})

    def is_up(self, within_s: float = 2.0) -> bool:
        """Whether the server answers in time; one that is gone is told from a busy one at once."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=within_s) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def state_folder() -> Path:
    """Where the database lives: $PREFECT_HOME, else ~/.instaflow."""
    named = os.environ.get("PREFECT_HOME")
    return Path(named).expanduser() if named else Path.home() / ".instaflow"


def standing_server() -> Endpoint | None:
    """The server that `instaflow server` holds open on this machine, if it is up."""
    try:
        endpoint = Endpoint(**json.loads(_door(state_folder()).read_text()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None
    return endpoint if endpoint.is_up() else None


@contextmanager
def local_server(
    port: int = 0, *, with_ui: bool = False, meanwhile: Callable[[], object] = lambda: None
) -> Iterator[Endpoint]:
    """A server for as long as the block runs; port 0 is a free one. Raises UserError if it does not start.

    `meanwhile` is called in the seconds that it takes to start.
    """
    with kept_server(port, with_ui=with_ui, meanwhile=meanwhile) as server:
        yield server.endpoint


@dataclass
class KeptServer:
    """A server that somebody looks after, and the process that it is just now."""

    endpoint: Endpoint
    process: subprocess.Popen[bytes]
    with_ui: bool

    def has_died(self) -> bool:
        """Whether its process is gone, and nothing of it answers."""
        return self.process.poll() is not None and not self.endpoint.is_up()

    def start_again(self) -> None:
        """Where it was, with the same password: who spoke to it goes on. Raises UserError if it does not start."""
        self.process, _ = _start(state_folder(), self.endpoint.port, self.with_ui, lambda: None)


@contextmanager
def kept_server(
    port: int = 0, *, with_ui: bool = False, meanwhile: Callable[[], object] = lambda: None
) -> Iterator[KeptServer]:
    """As `local_server`, for who starts it again when it dies."""
    process, endpoint = _start(state_folder(), port, with_ui, meanwhile)
    server = KeptServer(endpoint, process, with_ui)
    try:
        yield server
    finally:
        _stop(server.process)


@contextmanager
def open_door(endpoint: Endpoint) -> Iterator[Path]:
    """Lets other runs of this user find the server: a file only they can read, gone with the block."""
    door = _door(state_folder())
    write_private(door, json.dumps(asdict(endpoint)))
    try:
        yield door
    finally:
        door.unlink(missing_ok=True)


def _door(folder: Path) -> Path:
    return folder / "server.json"


def _password(folder: Path) -> str:
    """What opens the servers of this folder, made once: workers that stand outlive a restart of theirs."""
    kept = folder / "server-password"
    if kept.exists() and (found := kept.read_text()):
        return found
    write_private(kept, made := secrets.token_urlsafe(24))  # also over the empty one of a start killed right here
    return made


def _start(
    folder: Path, port: int, with_ui: bool, meanwhile: Callable[[], object]
) -> tuple[subprocess.Popen[bytes], Endpoint]:
    with _alone(folder):
        auth = f"instaflow:{_password(folder)}"
        for _ in range(_ATTEMPTS):
            endpoint = Endpoint(f"http://127.0.0.1:{port or _free_port()}/api", auth)
            process = _launch(folder, endpoint, with_ui)
            try:
                meanwhile()
                if _wait_until_up(process, endpoint):
                    return process, endpoint
            except BaseException:
                _stop(process)
                raise
            _stop(process)
    tail = "\n".join((folder / "server.log").read_text(errors="replace").splitlines()[-8:])
    raise UserError(
        f"the local Prefect server did not start within {_START_WITHIN_S:.0f} s;"
        f" the end of {folder / 'server.log'}:\n{tail}\nMend that, or set PREFECT_API_URL to another server."
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One start at a time: two migrations of one database at once break it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / "server.lock").open("w")
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write here: {error.strerror}. It holds the database of Prefect's records:"
            " make it writable or set PREFECT_HOME to a folder that is."
        ) from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _launch(folder: Path, endpoint: Endpoint, with_ui: bool) -> subprocess.Popen[bytes]:
    server = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(endpoint.port)]
    quiet = ["--log-level", "WARNING", *(["--ui"] if with_ui else ["--no-scheduler", "--no-late-runs", "--no-ui"])]
    with (folder / "server.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.server.guard", *server, *quiet],
            env=_server_environment(folder, endpoint),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C stops the run; the server has its last records still to write
        )


def _server_environment(folder: Path, endpoint: Endpoint) -> Mapping[str, str]:
    root = str(Path(__file__).parents[2])
    path = os.environ.get("PYTHONPATH")
    return os.environ | {
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder.absolute()}/prefect.db",
        "PREFECT_SERVER_API_AUTH_STRING": endpoint.auth or "",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_UI_STATIC_DIRECTORY": str(pages_folder(folder).absolute()),
        "PREFECT_API_URL": endpoint.url,  # what the pages ask, whatever the port
        "PREFECT_API_AUTH_STRING": endpoint.auth or "",
        "DO_NOT_TRACK": "1",
        "OTEL_SDK_DISABLED": "true",  # a trace is of a run; the server would tell of each request that it answers
        "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root,
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(process: subprocess.Popen[bytes], endpoint: Endpoint) -> bool:
    deadline_s = time.monotonic() + _START_WITHIN_S
    while process.poll() is None and time.monotonic() < deadline_s:
        if endpoint.is_up():
            return process.poll() is None
        time.sleep(0.05)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
