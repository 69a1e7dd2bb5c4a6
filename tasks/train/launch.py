"""A training by several processes of this machine, its ranks, started and watched by torch's elastic launcher.

The launcher is torchrun as a process of its own; `PET_NNODES` and its sisters tell it of other machines. What calls it
stays in charge: it commits the manifest, shows the progress that the first rank of the machine tells over a pipe, and
has the ranks stop by closing theirs, which its own death does as well. A rank that dies ends in a restart of all from
the last checkpoint; one that has something to say to the user ends the training.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import torch

from infra import stopping
from infra.artifact.workdir import WorkFolder
from infra.errors import UserError
from tasks.progress import Progress, silent
from tasks.stage import Make, StageWork, Work, work_class
from tasks.stages import Group
from tasks.train import ranks

RESTARTS = 5
"""How often a training begins again from its last checkpoint before its ranks are given up."""

_LOOK_EVERY_S = 0.2
Job = Callable[[Progress], object]


def by_ranks(count: int) -> Make:
    """Has a training made by so many ranks of this machine, which is what a recipe's `gpus` are."""
    return partial(_made, count)


def _made(count: int, doing: StageWork[Any], group: Group) -> None:
    work = doing.work
    for phase in work.extent.phases:
        ranks.share(phase.batch_size, 0, count)
    launch(partial(_make, replace(work, progress=silent), group), count, work.progress)


def _make(work: Work[Any], group: Group, progress: Progress) -> None:
    """What each rank does."""
    with work.out:
        work_class(work.stage)(replace(work, progress=progress)).make(group)
        ranks.wait()  # for the first one's commit: then every machine finds it


def launch(job: Job, count: int, progress: Progress) -> None:
    """Have `job`, which can be pickled, done by so many ranks at once.

    Raises UserError for what one of them says, or when they die again and again; Stopped when they were asked to end.
    """
    with WorkFolder("ranks") as folder:
        (folder / "job").write_bytes(pickle.dumps(job))
        with _torchrun(folder / "job", count) as process:
            error, stopped = _heard(process, progress)
        if error is not None:
            raise UserError(error)
        if stopped and stopping.asked():
            raise stopping.Stopped
        if stopped:
            raise UserError("the training was told to stop, but not from here. The same command goes on with it.")
        if process.returncode:
            raise UserError(
                f"the {count} processes of the training ended before it did (torchrun: {process.returncode}; they were"
                f" started again up to {RESTARTS} times): see above. The same command goes on from the last checkpoint."
            )


@contextmanager
def _torchrun(job: Path, count: int) -> Iterator[subprocess.Popen[bytes]]:
    """torchrun with so many ranks. No signal of the terminal reaches it, and none of them outlives the block."""
    options = {"nproc-per-node": count, "max-restarts": RESTARTS, "monitor-interval": _LOOK_EVERY_S}
    told = [f"--{name}={value}" for name, value in options.items()]
    if "PET_NNODES" not in os.environ:
        told.append("--standalone")
    command = [sys.executable, "-m", "torch.distributed.run", *told, "-m", "tasks.train.rank", str(job)]
    process = subprocess.Popen(
        command, env=_environment(count), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _environment(count: int) -> Mapping[str, str]:
    """This process's, with the modules that it finds, and its threads shared out."""
    threads = str(max(1, torch.get_num_threads() // count))
    return {
        "OMP_NUM_THREADS": threads,
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        # each start of the ranks has a store of its own: in a shared one a new rank finds the address of a dead one
        # (pytorch/pytorch#135712)
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }


def _heard(process: subprocess.Popen[bytes], progress: Progress) -> tuple[str | None, bool]:
    """What the ranks say until all are gone: whether something is wrong, and whether they stopped early."""
    assert process.stdin is not None and process.stdout is not None
    error, stopped = None, False
    with _stop_passed_on(process.stdin):
        for line in process.stdout:
            kind, *told = json.loads(line)
            if kind == "progress":
                progress(*told)
            elif kind == "stopped":
                stopped = True
            elif error is None:
                (error,) = told
                process.kill()  # its ranks go with it
    process.wait()
    return error, stopped


@contextmanager
def _stop_passed_on(ranks: IO[bytes]) -> Iterator[None]:
    """Within the block a stop that this process is asked for is passed on."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_EVERY_S):
            if stopping.asked():
                ranks.close()
                return

    thread = threading.Thread(target=watch, name="instaflow-stop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
