"""Which devices a worker owns: two workers on one machine never share one by accident."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from flows.server.local import state_folder
from infra.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"


@contextmanager
def owned(devices: str) -> Iterator[None]:
    """Within the block this process and its children see these devices alone, and no other worker gets them.

    They are named as CUDA_VISIBLE_DEVICES names them, with commas between them; none is the CPU. Raises UserError
    when another worker of this user owns one.
    """
    before = os.environ.get(VISIBLE)
    with ExitStack() as held:
        for device in filter(None, devices.split(",")):
            held.enter_context(_held(device))
        os.environ[VISIBLE] = devices
        try:
            yield
        finally:
            os.environ.pop(VISIBLE)
            os.environ.update({VISIBLE: before} if before is not None else {})


@contextmanager
def _held(device: str) -> Iterator[None]:
    """A lock that the system takes back at the death of its holder."""
    folder = state_folder() / "devices"
    folder.mkdir(parents=True, exist_ok=True)
    with Path(folder / device).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise UserError(
                f"device {device}: process {lock.read() or '?'} on this machine owns it, and two workers would share"
                " its memory. Give this one another, or stop that one."
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
