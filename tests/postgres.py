"""A real PostgreSQL on a free loopback port, and the Prefect server of the images that keeps its records there."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.server.local import Endpoint
from tests import ROOT

OWNER = "postgres"
"""Whose the database is where the tests run as root: PostgreSQL refuses to."""

_WITHIN_S = 240.0  # the tables of a new database take a minute on a busy machine


@dataclass(frozen=True)
class Database:
    """An empty database that asks for a password."""

    port: int
    user: str
    password: str

    def environment(self) -> dict[str, str]:
        """What a Prefect server needs to keep its records there."""
        return {
            "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
            "PREFECT_SERVER_DATABASE_HOST": "127.0.0.1",
            "PREFECT_SERVER_DATABASE_PORT": str(self.port),
            "PREFECT_SERVER_DATABASE_NAME": "postgres",
            "PREFECT_SERVER_DATABASE_USER": self.user,
            "PREFECT_SERVER_DATABASE_PASSWORD": self.password,
        }


@contextmanager
def postgres() -> Iterator[Database]:
    """A server for as long as the block runs; all of it is gone then. The test is skipped where there is none."""
    programs = _programs()
    owner: dict[str, Any] = {"user": OWNER, "group": OWNER, "extra_groups": []} if os.geteuid() == 0 else {}
    database = Database(_free_port(), OWNER if owner else getpass.getuser(), secrets.token_hex(16))
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # not below pytest's own, which nobody else may enter
    try:
        (folder / "password").write_text(database.password)
        if owner:
            for path in (folder, folder / "password"):
                shutil.chown(path, OWNER, OWNER)
        asks = ["--auth", "scram-sha-256", "--pwfile", str(folder / "password"), "--no-sync"]
        make = [str(programs / "initdb"), "--pgdata", str(folder / "data"), "--username", database.user, *asks]
        subprocess.run(make, cwd=folder, check=True, capture_output=True, **owner)
        settings = [
            "listen_addresses=127.0.0.1",
            f"port={database.port}",
            f"unix_socket_directories={folder}",
            "fsync=off",
        ]
        serve = [str(programs / "postgres"), "-D", str(folder / "data"), *(f"--{setting}" for setting in settings)]
        with running(serve, folder / "log", lambda log: "ready to accept connections" in log, cwd=folder, **owner):
            yield database
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def prefect_server(folder: Path, database: Database) -> Iterator[Endpoint]:
    """The server of the images, by their entry point, with its home in `folder`: behind a password, on the database."""
    endpoint = an_endpoint()
    environment = server_environment(folder, database, endpoint)
    with running(SERVE, folder / "server.log", lambda _: endpoint.is_up(), env=environment):
        yield endpoint


SERVE = [str(ROOT / "infra" / "docker" / "entrypoint.sh"), "server"]


def an_endpoint() -> Endpoint:
    """A free port of this machine, and a password."""
    return Endpoint(f"http://127.0.0.1:{_free_port()}/api", f"instaflow:{secrets.token_hex(16)}")


def server_environment(folder: Path, database: Database, endpoint: Endpoint) -> dict[str, str]:
    """What the images' server needs to be that endpoint, with its home in `folder`."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(folder),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": endpoint.url.rpartition(":")[2].removesuffix("/api"),
        "PREFECT_SERVER_API_AUTH_STRING": endpoint.auth or "",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        **database.environment(),
    }


@contextmanager
def running(
    command: list[str], log: Path, is_up: Callable[[str], bool], **how: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """The process from the moment on at which `is_up` says so of its log, to the end of the block."""
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **how)
    try:
        until_s = time.monotonic() + _WITHIN_S
        while not is_up(log.read_text()):
            assert process.poll() is None and time.monotonic() < until_s, log.read_text()
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _programs() -> Path:
    """Where PostgreSQL's programs are: Debian has them by version, and in no PATH."""
    debian = [folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if (folder / "initdb").is_file()]
    if debian:
        return max(debian, key=lambda folder: int(folder.parent.name))
    found = shutil.which("initdb")
    if found is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return Path(found).parent


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
