"""Server, pools and workers on one machine: a process in the background looks after them and ends them in order.

`python -m flows.deploy.one_machine PORT [POOLS_FILE]` is that process; SIGTERM ends it.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

from flows.deploy.pools import Pools, read_pools
from flows.server.local import KeptServer, kept_server, open_door, standing_server, state_folder
from infra.environment import utc_now
from infra.errors import UserError

_WITHIN_S = 300.0
_LOOK_EVERY_S = 0.2
_MEND_EVERY_S = 5.0


def start(pools: Path | None, port: int) -> str:
    """Start it and wait until all workers are there; where the server is. Raises UserError when something is amiss."""
    folder = state_folder()
    folder.mkdir(parents=True, exist_ok=True)
    log, command = folder / "up.log", [sys.executable, "-m", "flows.deploy.one_machine", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command + ([str(pools.absolute())] if pools else []),
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    deadline_s = time.monotonic() + _WITHIN_S
    while process.poll() is None and time.monotonic() < deadline_s:
        if (holder := _holder()) and holder.get("pid") == process.pid and "url" in holder:
            return f"{holder['url']}  (password in {folder / 'server.json'}; logs in {folder}; instaflow down stops)"
        time.sleep(_LOOK_EVERY_S)
    if process.poll() is None:
        process.terminate()
    said = log.read_text(errors="replace").strip().splitlines()[-8:]
    raise UserError("\n".join([f"it did not come up; the end of {log}:", *said]))


def stop() -> None:
    """End it, and wait for that. Raises UserError when nothing is up."""
    holder = _holder()
    if holder is None:
        raise UserError(f"nothing is up: no process holds {_lock_file()}")
    os.kill(holder["pid"], signal.SIGTERM)
    while _holder() is not None:
        time.sleep(_LOOK_EVERY_S)


def _lock_file() -> Path:
    return state_folder() / "up.json"


def _holder() -> dict[str, Any] | None:
    """What the process that is up says of itself; None if there is none: its lock goes with it."""
    try:
        with _lock_file().open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return dict(json.loads(_lock_file().read_text() or "{}"))
    return None


def hold(pools: Pools, port: int) -> None:
    """Have everything up until it is interrupted. Raises UserError when another process has."""
    with _locked() as file, _a_server(port) as (url, server):
        from flows.deploy.registering import register

        register(pools)
        with _workers(pools):
            _say(file, pid=os.getpid(), url=url.removesuffix("/api"))
            _look_after(server)


def _look_after(server: KeptServer | None) -> NoReturn:
    """A server that dies is started again, and one that cannot start is tried again.

    Not a worker: its engine may live on, with the devices that another one would take.
    """
    while True:
        time.sleep(_MEND_EVERY_S)
        if server and server.has_died():
            said = (state_folder() / "server.log").read_text(errors="replace").splitlines()[-3:]
            _tell("\n".join(["the Prefect server died and is started again; it said last:", *said]))
            try:
                server.start_again()
            except (UserError, OSError) as error:
                _tell(str(error))


def _tell(what: str) -> None:
    """In `up.log`."""
    print(utc_now()[:19], what, file=sys.stderr, flush=True)


@contextmanager
def _locked() -> Iterator[TextIO]:
    with _lock_file().open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"it is up already: {_lock_file().read_text()}") from error
        _say(file, pid=os.getpid())
        yield file


def _say(file: TextIO, **told: object) -> None:
    file.truncate(0)
    file.write(json.dumps(told))
    file.flush()


@contextmanager
def _a_server(port: int) -> Iterator[tuple[str, KeptServer | None]]:
    """Where it is; the server itself if it is ours to look after."""
    from prefect.settings import get_current_settings

    from flows.server.connection import standing

    if get_current_settings().api.url or standing_server():
        with standing() as url:
            yield url, None
    else:
        with kept_server(port, with_ui=True) as server, open_door(server.endpoint), standing() as url:
            yield url, server


@contextmanager
def _workers(pools: Pools) -> Iterator[None]:
    """Those of the file, once the server knows each; at the end all drain at the same time."""
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, pool in pools.pools.items():
            for number, place in enumerate(pool.workers):
                processes[f"{name}-{number}"] = _start_worker(name, f"{name}-{number}", place.devices)
        _wait_for(pools, processes)
        yield
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait()


def _start_worker(pool: str, name: str, devices: str) -> subprocess.Popen[bytes]:
    with (state_folder() / f"worker-{name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "worker", pool, "--name", name, "--devices", devices],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip


def _wait_for(pools: Pools, processes: dict[str, subprocess.Popen[bytes]]) -> None:
    from prefect.client.orchestration import get_client

    missing, since = set(processes), datetime.now(UTC)
    with get_client(sync_client=True) as client:
        while missing:
            workers = [one for pool in pools.pools for one in client.read_workers_for_work_pool(pool)]
            missing -= {one.name for one in workers if one.last_heartbeat_time and one.last_heartbeat_time >= since}
            for name in missing:
                if processes[name].poll() is not None:
                    log = state_folder() / f"worker-{name}.log"
                    raise UserError(f"worker {name} has ended; {log} says:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(_LOOK_EVERY_S)


def _main(port: str, pools: str | None = None) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        hold(read_pools(Path(pools) if pools else None), int(port))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


def _interrupt(signum: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what is running is being saved
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
