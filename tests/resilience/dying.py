"""Upkeep of a small store, and runs on it, in a process that dies of SIGKILL in the midst of its n-th change.

A change is a file that gets its name, or loses it; on S3 a request that changes something. Nothing is computed: stages
are small (`tests/flows/small_stages.py`), the larger files go up in parts. `python -m tests.resilience.dying` is
the real command line, Prefect and all, that dies likewise.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partialmethod
from pathlib import Path
from typing import Any

import s3fs.core

import infra.store.local as local
from flows.cli.app import main
from flows.recipes import load_recipe
from infra.artifact.manifest import FileRecord
from infra.store import Store, open_store
from infra.store.remote import RemoteStore
from infra.upkeep.inventory import find, pin
from infra.upkeep.naming import give_name
from infra.upkeep.runs import read_ref
from infra.upkeep.transfer import copy, with_inputs
from infra.upkeep.verify import damages, mark
from tasks.stages import STAGES
from tests.flows import small_stages
from tests.infra.chain import make

PAIRS = "pairs-1"
PART_BYTES = 400
"""So that the largest files of the small stages go to S3 in parts."""
_CHANGES = {
    "put_object", "delete_object", "delete_objects",
    "create_multipart_upload", "upload_part", "complete_multipart_upload", "abort_multipart_upload",
}  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """What is done to a store, after what has been done to it; `ends` with that exit code."""

    does: Callable[[str], object]
    after: Callable[[Store], object] = lambda store: None
    ends: int = 0


@dataclass(frozen=True)
class Doing:
    """One process: an operation on a store, to die at its n-th change; 0 is never. `folder` takes what it leaves."""

    name: str
    store: str
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    dies_at: int = 0


def target_of(store: str) -> str:
    """Where `artifacts cp` copies to."""
    return f"{store}-copy"


def run(store: str, *overrides: str, **choice: tuple[str, ...]) -> None:
    """`instaflow run tiny`, all of it but Prefect."""
    from flows.run import runner
    from tests.flows.kitchen import Kitchen  # not above: the real command line has no need of it

    kitchen = Kitchen(open_store(store))
    runner.STAGE_FLOWS = dict.fromkeys(STAGES, kitchen.flow)  # type: ignore[arg-type]
    kitchen.handles(load_recipe("tiny", overrides).seeded(), **choice)


def _command(*arguments: str) -> Callable[[str], None]:
    """`instaflow ARGUMENTS --store STORE`; {store}, {target} and {pairs} are filled in."""

    def does(store: str) -> None:
        names = {"target": target_of(store), "pairs": pairs_of(open_store(store))}
        sys.argv = ["instaflow", *(argument.format(**names) for argument in arguments), "--store", store]
        main()

    return does


def pairs_of(store: Store) -> str:
    """The pairs of the last run: stage/fingerprint."""
    ref = read_ref(store, "tiny", PAIRS)
    assert ref is not None
    return ref.artifact


def seed(store: str) -> None:
    """A finished recipe; an artifact that nobody needs, half of another one, and a blob that no manifest names."""
    run(store, until=(PAIRS,))
    there = open_store(store)
    make(there, "pairs", {}, {"steps": 9})
    half = make(there, "pairs", {}, {"steps": 8})
    there.delete(f"{half.base}/manifest.json")
    there.write(f"{pairs_of(there)}/data/nobody-0123456789ab.tar", b"left by a killed run")


def _damage(store: Store, base: str = "") -> None:
    """Flip a bit of one file and lose another."""
    made = find(store, base or pairs_of(store))
    first, second = _parts(made.manifest.files)
    data = bytearray(store.read(f"{made.base}/{first.path}"))
    data[3] ^= 1
    store.write(f"{made.base}/{first.path}", bytes(data))
    store.delete(f"{made.base}/{second.path}")


def _parts(files: list[FileRecord]) -> tuple[FileRecord, FileRecord]:
    first, second, *_ = (file for file in files if file.name.startswith("part-"))
    return first, second


def _found(store: Store, base: str = "") -> None:
    """Damage it, and have that noticed."""
    _damage(store, base)
    made = find(store, base or pairs_of(store))
    mark(made, [*damages(made)], {})


def _mended(store: Store) -> None:
    """Have damage noticed, and put the old bytes back by hand."""
    made = find(store, pairs_of(store))
    before = {path: store.read(path) for path in store.list(made.base)}
    _found(store)
    for path, data in before.items():
        store.write(path, data)


def _half_copied(store: Store) -> None:
    """A copy that is there, damaged, and known to be."""
    target, made = open_store(target_of(store.url)), find(store, pairs_of(store))
    for one in with_inputs(made):
        copy(one, target)
    _found(target, made.base)


def _pinned(store: Store) -> None:
    pin(store, find(store, pairs_of(store)))


def _named(store: Store) -> None:
    """A name that stands for something else."""
    give_name(make(store, "pairs", {}, {"steps": 8}), "kept")


OPERATIONS = {
    "a forced rerun": Operation(lambda store: run(store, only=(PAIRS,), force=(PAIRS,))),
    "a changed recipe": Operation(lambda store: run(store, "pairs.steps=5", only=(PAIRS,))),
    "a repair": Operation(lambda store: run(store, only=(PAIRS,)), _found),
    "verify": Operation(_command("artifacts", "verify"), _damage, ends=1),
    "verify of what was mended": Operation(_command("artifacts", "verify"), _mended),
    "gc": Operation(_command("artifacts", "gc", "--delete", "--grace", "0s")),
    "cp": Operation(_command("artifacts", "cp", "{pairs}", "{target}")),
    "cp over what is damaged": Operation(_command("artifacts", "cp", "{pairs}", "{target}"), _half_copied),
    "pin": Operation(_command("artifacts", "pin", "{pairs}", "--note", "kept")),
    "name": Operation(_command("models", "name", "{pairs}", "kept")),
    "a moved name": Operation(_command("models", "name", "{pairs}", "kept", "--move"), _named),
    "unpin": Operation(_command("artifacts", "unpin", "{pairs}"), _pinned),
}


def do(doing: Doing) -> None:
    """Do it in this process, which was forked for it; what it says is in `log`, its exit code the process's own."""
    (doing.folder / "tmp").mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(doing.folder / "tmp")
    log = os.open(doing.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(doing.environment)
    small_stages.install(doing.folder.parent / "weights")
    os.fsync = lambda handle: None  # type: ignore[assignment]  # a process dies here, not the machine
    die_at(doing.dies_at)
    code = 0
    try:
        (OPERATIONS[doing.name].does if doing.name else seed)(doing.store)
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # no goodbyes: the threads of the forked process are its own business


def die_at(change: int) -> None:
    """Have this process killed in the midst of its n-th change of any store."""
    count = itertools.count(1)

    def changing() -> None:
        if next(count) == change:
            os.kill(os.getpid(), signal.SIGKILL)

    _in_a_folder(changing)
    _on_s3(changing)
    RemoteStore.__init__ = partialmethod(RemoteStore.__init__, part_bytes=PART_BYTES)  # type: ignore[method-assign]


def _in_a_folder(changing: Callable[[], None]) -> None:
    whole, unlink = local.whole, local.LocalStore.delete

    def torn(target: Path, fill: Callable[[Path], object], put: local.Put | None = None) -> None:
        def named(temporary: Path, name: Path) -> None:
            changing()  # the file is there, under another name
            (put or os.replace)(temporary, name)

        whole(target, fill, named)

    def delete(self: local.LocalStore, path: str) -> None:
        changing()
        unlink(self, path)

    local.whole, local.LocalStore.delete = torn, delete  # type: ignore[assignment,method-assign]


def _on_s3(changing: Callable[[], None]) -> None:
    ask = s3fs.core._error_wrapper

    async def asked(method: Callable[..., Any], **how: Any) -> Any:
        if method.__name__ in _CHANGES:
            changing()
        return await ask(method, **how)

    s3fs.core._error_wrapper = asked


if __name__ == "__main__":
    small_stages.install(Path(os.environ["SMALL_STAGES_WEIGHTS"]))
    die_at(int(os.environ["DIES_AT"]))
    main()
