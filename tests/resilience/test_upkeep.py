"""Nothing is lost: SIGKILL in the midst of every change of a forced rerun, a repair, and what keeps a store in order.

Real processes (`dying.py`) on a local store and on a real S3 server, and the real command line. Whatever happens, what
is believed is whole, nothing that is needed is lost, and the same command ends as if nothing had happened.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import TypeAlias

import pytest

from infra.artifact.redo import why_redo
from infra.store import Store, open_store
from infra.upkeep.inventory import entries
from infra.upkeep.runs import write_begun
from infra.upkeep.verify import damages
from tests import ROOT
from tests.resilience.dying import OPERATIONS, PAIRS, Doing, do, pairs_of, target_of
from tests.s3 import BUCKET, rclone_server

pytestmark = pytest.mark.slow

PATIENCE_S = 120
MOMENTS = 6
MOST = 100
HOUR_S = 3600
SEED = 20250608
_OF_THE_MOMENT = {"since"}
Outcome: TypeAlias = dict[str, object]


@dataclass
class Kind:
    """A kind of store, every one a folder below `folder`, whoever serves it."""

    name: str
    folder: Path
    stride: int = 1
    environment: dict[str, str] = field(default_factory=dict)

    def url(self, store: str) -> str:
        return f"s3://{BUCKET}/{store}" if self.name == "s3" else str(self.folder / store)

    def on_disk(self, store: str) -> Store:
        return open_store(self.folder / store)


@dataclass
class Bench:
    """Where stores are prepared once for each operation, and copied for each kill."""

    folder: Path
    done: int = 0

    def prepared(self, name: str) -> Path:
        """The folder of a store as the operation finds it."""
        folder = self.folder / "prepared" / name
        if not folder.exists():
            shutil.copytree(self._seed(), folder)
            OPERATIONS[name].after(open_store(folder))
        return folder

    def _seed(self) -> Path:
        folder = self.folder / "prepared" / "seed"
        if not folder.exists():
            assert self.ended(self.start("", str(folder))) == 0, self.said()
        return folder

    def copy(self, name: str, kind: Kind) -> str:
        """A store of its own, with its copy if there is one: its name."""
        store = uuid.uuid4().hex
        for suffix in ("", target_of("")):
            source = Path(f"{self.prepared(name)}{suffix}")
            if source.exists():
                shutil.copytree(source, kind.folder / f"{store}{suffix}")
        return store

    def start(self, name: str, store: str, kind: Kind | None = None, dies_at: int = 0) -> ForkServerProcess:
        """The operation in a process of its own."""
        self.done += 1
        environment = {"INSTAFLOW_CACHE": str(self.folder / "cache"), **(kind.environment if kind else {})}
        asked = Doing(name, kind.url(store) if kind else store, self._place, environment, dies_at)
        self._place.mkdir(parents=True)
        process = multiprocessing.get_context("forkserver").Process(target=do, args=(asked,))
        process.start()
        return process

    def ended(self, process: ForkServerProcess, patience_s: float = PATIENCE_S) -> int:
        """Wait for the end: the exit code. The process is killed when patience is over."""
        process.join(patience_s)
        process.kill()
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    def command(self, module: str, arguments: list[str], kind: Kind, dies_at: int = 0) -> int:
        """The command line in a process of its own: its exit code."""
        told = {"SMALL_STAGES_WEIGHTS": str(self.folder / "processes" / "weights"), "DIES_AT": str(dies_at)}
        here = {"PYTHONPATH": str(ROOT), "INSTAFLOW_CACHE": str(self.folder / "cache"), **kind.environment, **told}
        process = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=self.folder,
            env=os.environ | here,
            stdout=subprocess.DEVNULL,
            timeout=PATIENCE_S,
            check=False,
        )
        return process.returncode

    @property
    def _place(self) -> Path:
        return self.folder / "processes" / str(self.done)

    def said(self) -> str:
        """What the last process said."""
        return (self._place / "log").read_text()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The stores that all tests here share."""
    return Bench(tmp_path_factory.mktemp("upkeep"))


@pytest.fixture(scope="module", params=["local", "s3"])
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kind]:
    """A local folder, or an S3 server that sees at once what is put into its folder."""
    folder = tmp_path_factory.mktemp("stores")
    if request.param == "local":
        yield Kind("local", folder)
        return
    with rclone_server(folder / "served", "--dir-cache-time=1ms") as server:
        yield Kind("s3", folder / "served" / BUCKET, 4, server.environment())


def believed(store: Store) -> set[str]:
    """What is wrong with what a run or a reader would take as it is, and what is gone that the last run made."""
    there = [*entries(store)]
    needed = {json.loads(store.read(path))["artifact"] for path in store.list("refs")}
    found = {f"{base} is lost" for base in needed - {entry.base for entry in there if entry.artifact}}
    for entry in there:
        assert not entry.problem, entry.problem
        if entry.artifact and not why_redo(entry.artifact):
            found |= {f"{entry.base}/{damage.path} {damage.problem}" for damage in damages(entry.artifact)}
    return found


def outcome(store: Store) -> Outcome:
    """All that matters of a store and of its copy: artifacts by content, records but for their times, files by name."""
    found: Outcome = {}
    for place in (store, open_store(target_of(store.url))):
        for entry in entries(place):
            made = entry.artifact
            found[f"{place.url == store.url} {entry.base}"] = made and (made.digest, why_redo(made))
        for path in place.list():
            folder = path.partition("/")[0]
            if folder in ("refs", "pins"):
                record = json.loads(place.read(path))
                found[path] = {name: value for name, value in record.items() if name not in _OF_THE_MOMENT}
            elif folder not in ("runs", "begun") and "/redo/" not in path:  # what was begun and found made is let go
                found[f"{place.url == store.url} {path}"] = "/data/" in path and place.size(path)
    return found


@pytest.fixture(scope="module")
def outcomes(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What each operation ends with that nobody disturbs, on a local store."""
    kind, found = Kind("local", tmp_path_factory.mktemp("undisturbed")), {}
    for name, operation in OPERATIONS.items():
        store = bench.copy(name, kind)
        assert bench.ended(bench.start(name, store, kind)) == operation.ends, (name, bench.said())
        found[name] = outcome(kind.on_disk(store))
        doubted = [what for what, made in found[name].items() if isinstance(made, tuple) and made[1]]
        assert bool(doubted) == bool(operation.ends), (name, doubted)
    return found


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_every_change(name: str, kind: Kind, bench: Bench, outcomes: dict[str, Outcome]) -> None:
    """In a folder at each; on S3, where all takes longer, at every fourth."""
    before, code = believed(open_store(bench.prepared(name))), -signal.SIGKILL
    for change in range(1, MOST, kind.stride):
        store = bench.copy(name, kind)
        code = bench.ended(bench.start(name, store, kind, dies_at=change))
        assert believed(kind.on_disk(store)) <= before
        if code != -signal.SIGKILL:
            break
        require_same_end(name, store, kind, bench, outcomes)
    assert change > 1 and code == OPERATIONS[name].ends, bench.said()
    assert outcome(kind.on_disk(store)) == outcomes[name], "nobody disturbed the last one"


def require_same_end(name: str, store: str, kind: Kind, bench: Bench, outcomes: dict[str, Outcome]) -> None:
    """The same command, not disturbed and an hour later, ends as if nothing had happened."""
    an_hour_later(store, kind)
    assert bench.ended(bench.start(name, store, kind)) == OPERATIONS[name].ends, bench.said()
    assert outcome(kind.on_disk(store)) == outcomes[name]


def an_hour_later(store: str, kind: Kind) -> None:
    """What a sweep had withdrawn that was killed has been there for long."""
    for path in kind.folder.joinpath(store).glob("withdrawn/*"):
        since = path.stat().st_mtime - 2 * HOUR_S
        os.utime(path, (since, since))


def test_what_a_run_took_while_a_killed_sweep_had_it_is_given_back(kind: Kind, bench: Bench) -> None:
    """gc dies between a manifest and its verdict, and a run has asked for that artifact: a later gc begins with it."""
    undecided = 0
    for change in range(1, MOST):
        store = bench.copy("gc", kind)
        there, before = kind.on_disk(store), {one.base for one in entries(kind.on_disk(store)) if one.artifact}
        if bench.ended(bench.start("gc", store, kind, dies_at=change)) != -signal.SIGKILL:
            break
        taken = before - {one.base for one in entries(there) if one.artifact}
        for base in taken:
            write_begun(there, "another", "pairs-1", base)
        if there.list("withdrawn") and taken:
            undecided += 1
            an_hour_later(store, kind)
            assert bench.ended(bench.start("gc", store, kind)) == 0, bench.said()
            assert taken <= {one.base for one in entries(there) if one.artifact}
            assert believed(there) == set() and not there.list("withdrawn")
    assert undecided, "it was never killed in between"


def test_killed_at_random_moments(kind: Kind, bench: Bench, outcomes: dict[str, Outcome]) -> None:
    moments = random.Random(SEED)
    print(f"seed {SEED}")  # pytest shows it when the test fails
    for _ in range(MOMENTS):
        name, delay_s = moments.choice([*OPERATIONS]), moments.uniform(0, 0.4)
        store = bench.copy(name, kind)
        bench.ended(bench.start(name, store, kind), delay_s)
        assert believed(kind.on_disk(store)) <= believed(open_store(bench.prepared(name)))
        require_same_end(name, store, kind, bench, outcomes)


@pytest.mark.parametrize(
    ("name", "dies_at", "arguments"),
    [
        ("verify", 1, ["artifacts", "verify"]),
        ("gc", 4, ["artifacts", "gc", "--delete", "--grace", "0s"]),
        ("cp", 6, ["artifacts", "cp", "{pairs}", "{target}"]),
        ("pin", 1, ["artifacts", "pin", "{pairs}", "--note", "kept"]),
    ],
)
def test_the_command_line_is_killed(
    name: str, dies_at: int, arguments: list[str], kind: Kind, bench: Bench, outcomes: dict[str, Outcome]
) -> None:
    store = bench.copy(name, kind)
    names = {"pairs": pairs_of(kind.on_disk(store)), "target": target_of(kind.url(store))}
    command = [*(one.format(**names) for one in arguments), "--store", kind.url(store)]
    assert bench.command("tests.resilience.dying", command, kind, dies_at) == -signal.SIGKILL
    assert believed(kind.on_disk(store)) <= believed(open_store(bench.prepared(name)))
    an_hour_later(store, kind)
    assert bench.command("flows.cli", command, kind) == OPERATIONS[name].ends
    assert outcome(kind.on_disk(store)) == outcomes[name]


@pytest.mark.server
def test_a_forced_run_of_the_command_line_is_killed(
    bench: Bench, outcomes: dict[str, Outcome], tmp_path: Path, prefect_home: Path
) -> None:
    name, kind = "a forced rerun", Kind("local", tmp_path)
    store = bench.copy(name, kind)
    command = ["run", "tiny", "--only", PAIRS, "--force", PAIRS, "--store", kind.url(store)]
    assert bench.command("tests.resilience.dying", command, kind, dies_at=9) == -signal.SIGKILL
    assert believed(kind.on_disk(store)) == set()
    assert bench.command("tests.resilience.dying", command, kind) == 0
    assert outcome(kind.on_disk(store)) == outcomes[name]
