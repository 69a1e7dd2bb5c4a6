"""One rank of a training: `python -m tasks.train.rank JOB`, as tasks/train/launch.py has torchrun start it.

It reads nothing from its standard input, which ends when the ranks are to stop; its standard output is a pipe on which
it tells what it has to say, a JSON list a line.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import signal
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path

from infra import stopping
from infra.errors import UserError
from tasks.progress import silent
from tasks.train import ranks

_LOOK_EVERY_S = 0.5


class Telling:
    """The pipe to the process that started the ranks; what libraries print goes to standard error instead."""

    def __init__(self) -> None:
        self._pipe = os.dup(1)
        os.dup2(2, 1)

    def __call__(self, kind: str, *what: int | str) -> None:
        with suppress(BrokenPipeError):  # who listened is gone, and the ranks are about to stop
            os.write(self._pipe, json.dumps([kind, *what]).encode() + b"\n")

    def progress(self, done: int, total: int, unit: str) -> None:
        """A Progress."""
        self("progress", done, total, unit)


def main(job: Path) -> None:
    """Do the job as the rank that torchrun's variables name, and leave; an error of the user's is told, and final."""
    code, tell = 1, Telling()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.ask())
    met = threading.Event()
    threading.Thread(target=_look_up, args=(os.getppid(), met, tell), name="instaflow-parent", daemon=True).start()
    try:
        with ranks.joined():
            met.set()
            pickle.loads(job.read_bytes())(tell.progress if os.environ["LOCAL_RANK"] == "0" else silent)
        code = 0
    except stopping.Stopped:
        tell("stopped")
        code = 0
    except UserError as error:
        tell("error", str(error))
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)  # an interpreter that ends by itself may wait for ranks that are gone


def _look_up(launcher: int, met: threading.Event, tell: Telling) -> None:
    """Ask for a stop when standard input ends; leave at once when torchrun is gone, which would have ended us.

    Who has not `met` the other ranks has nothing to finish, and may wait for one that never comes: it leaves, too.
    """
    watched = [0]
    while os.getppid() == launcher:
        ended, _, _ = select.select(watched, [], [], _LOOK_EVERY_S)
        if ended and not os.read(0, 1):
            watched = []
            stopping.ask()
        if stopping.asked() and not met.is_set():
            tell("stopped")
            os._exit(0)
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
