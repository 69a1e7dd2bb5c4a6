"""Real S3 servers on a free loopback port, for as long as the tests need them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import ROOT

BUCKET = "bucket"
_KEY, _SECRET = "accesskey", "secretsecret"
_STARTED = re.compile(r"Starting s3 server on \[(http://[^/]+)/?\]")


@dataclass(frozen=True)
class S3Server:
    """A server with one bucket. `creates_once` tells whether it honours `If-None-Match`."""

    endpoint: str
    creates_once: bool

    def environment(self) -> dict[str, str]:
        """What a process needs to reach it: the standard AWS configuration, and nothing of the user's own."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextmanager
def rclone_server(folder: Path, *flags: str) -> Iterator[S3Server]:
    """`rclone serve s3` over a folder, with authentication. It ignores `If-None-Match`."""
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    rclone = Path(sys.executable).with_name("rclone")
    serve = [
        str(rclone),
        "serve",
        "s3",
        "--auth-key",
        f"{_KEY},{_SECRET}",
        "--addr",
        "127.0.0.1:0",
        *flags,
        str(folder),
    ]
    log = folder.parent / "rclone.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.server.guard", *serve],  # a killed test leaves no server behind
            cwd=ROOT,
            env={**os.environ, "RCLONE_CONFIG": os.devnull},
            stderr=output,
        )
    try:
        yield S3Server(_endpoint(process, log), creates_once=False)
    finally:
        process.terminate()
        process.wait(20)


def _endpoint(process: subprocess.Popen[bytes], log: Path) -> str:
    while process.poll() is None:
        if found := _STARTED.search(log.read_text()):
            return found[1]
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(f"rclone did not start: {log.read_text()}")


@contextmanager
def moto_server() -> Iterator[S3Server]:
    """moto's S3 in a thread: it honours conditional requests and knows no authentication."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    found = S3Server(f"http://{host}:{port}", creates_once=True)
    urllib.request.urlopen(urllib.request.Request(f"{found.endpoint}/{BUCKET}", method="PUT")).close()
    try:
        yield found
    finally:
        server.stop()
