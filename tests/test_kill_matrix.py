"""Nothing is lost: SIGKILL at every step of the commit protocol, at any moment, two runs at once, a run asleep.

Real processes over the real stages (`tests/kill_driver.py`), on a local store and on a real S3 server. Whatever
happens, what has a manifest is whole and the end is the artifacts of an undisturbed run, digest for digest.
"""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.forkserver
import os
import random
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psutil
import pytest

from tests.kill_driver import Attempt, attempt
from tests.s3 import BUCKET, S3Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # a minute each, where nothing else runs

ROOT = Path(__file__).parents[1]
PATIENCE_S = 300
AFTER_MANIFEST = ("manifest-done", "deleted")
STEPS = {
    "blob", "unit", "unit-done", "manifest", *AFTER_MANIFEST, "checkpoint-blob", "checkpoint-record",
    "checkpoint-done", "checkpoint-record-deleted", "checkpoint-blob-deleted",
}  # fmt: skip
ON_S3 = ("unit", "manifest-done")  # the steps of stages other than pairs and reflow; the local store has them all
MOMENTS = 20
SEED = 20240131
ASLEEP = {  # where a run falls asleep while another one finishes the artifact
    "world:unit:coco",
    "teacher:checkpoint-record:denoiser",
    "clip:checkpoint-done:reader",
    "prompts:blob:prompts.parquet",
    "pairs-1:blob:shard-000001.index.parquet",
    "reflow-1:checkpoint-record-deleted:reflow",
    "pairs-student:unit:index",
    "distill:manifest",
    "direct:manifest-done",
    "evaluate:unit:2-rf-1",
    "report:blob:metrics.json",
}


@dataclass
class Ended:
    """How an attempt ended, and the points it came to."""

    exitcode: int | None
    points: list[str]
    log: str
    digests: dict[str, str] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)


@dataclass
class Place:
    """A store, and where attempts on it leave their traces."""

    asked: Attempt
    started: list[ForkServerProcess] = field(default_factory=list)

    @property
    def is_remote(self) -> bool:
        return "://" in self.asked.store

    def start(self, **changes: object) -> tuple[ForkServerProcess, Attempt]:
        """A run of the chain in a process of its own."""
        folder = self.asked.folder / f"attempt-{len(self.started):03d}"
        folder.mkdir(parents=True)
        asked = replace(self.asked, folder=folder, **changes)  # type: ignore[arg-type]
        process = multiprocessing.get_context("forkserver").Process(target=attempt, args=(asked,))
        process.start()
        self.started.append(process)
        return process, asked

    def run(self, **changes: object) -> Ended:
        """A run to its end, whatever that is."""
        return ended(*self.start(**changes))

    def clean_up(self) -> None:
        for process in self.started:
            process.kill()
            process.join()


def ended(process: ForkServerProcess, asked: Attempt, patience_s: float = PATIENCE_S) -> Ended:
    """Wait for the end; the process is killed when patience is over."""
    process.join(patience_s)
    process.kill()
    process.join()
    points, log, told = (asked.folder / name for name in ("points", "log", "told.json"))
    found = Ended(process.exitcode, _lines(points), "\n".join(_lines(log)))
    if told.exists():
        content = json.loads(told.read_text())
        found.digests, found.damaged = content["digests"], content["damaged"]
    shutil.rmtree(asked.folder / "tmp", ignore_errors=True)
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(scope="module", autouse=True)
def fork_server() -> Iterator[None]:
    """Processes are forked from one that has imported everything heavy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("OMP_NUM_THREADS", "1")
        multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.kill_warm"])
        multiprocessing.forkserver.ensure_running()
        yield
        multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """What a run ends with that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    place = Place(Attempt(str(folder / "store"), folder))
    done = place.run()
    assert done.exitcode == 0 and not done.damaged, done.log
    return done


NewPlace = Callable[[], Place]


@pytest.fixture(params=["local", "s3"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewPlace]:
    """Makes an empty store of that kind."""
    server: S3Server | None = request.getfixturevalue("rclone") if request.param == "s3" else None
    places: list[Place] = []

    def make() -> Place:
        name = uuid.uuid4().hex
        url = f"s3://{BUCKET}/{name}" if server else str(tmp_path / name)
        environment = {"INSTAFLOW_CACHE": str(tmp_path / "cache"), **(server.environment() if server else {})}
        places.append(Place(Attempt(url, tmp_path / f"{name}-attempts", environment)))
        return places[-1]

    yield make
    for place in places:
        place.clean_up()


def require_same(found: Ended, undisturbed: Ended, until: str = "report") -> None:
    """The run ended well, with every artifact whole and as if nothing had happened."""
    assert found.exitcode == 0, found.log
    assert found.digests == {stage: undisturbed.digests[stage] for stage in _up_to(until, undisturbed)}
    assert not found.damaged


def _up_to(until: str, undisturbed: Ended) -> list[str]:
    stages = [*undisturbed.digests]
    return stages[: stages.index(until) + 1]


def chosen(points: Sequence[str]) -> list[str]:
    """Every step of every stage, with the first and the last of the blobs, units, phases or files that it is about."""
    steps: dict[tuple[str, str], list[str]] = {}
    for point in points:
        steps.setdefault(stage_and_step(point), []).append(point)
    return [*dict.fromkeys(point for mine in steps.values() for point in (mine[0], mine[-1]))]


def stage_and_step(point: str) -> tuple[str, str]:
    stage, step, *_ = point.split(":")
    return stage, step


def kill_at_each(place: Place, points: Sequence[str]) -> int:
    """Kill run after run, each at the first of these points that none has died at; how many there were."""
    left, reopen, kills = dict.fromkeys(points), "", 0
    while left:
        found = place.run(kill_at=frozenset(left), reopen=reopen)
        assert found.exitcode == -signal.SIGKILL, (found.exitcode, [*left], found.log)
        kills += 1
        died_at = found.points[-1]
        del left[died_at]
        reopen = next((point.partition(":")[0] for point in left if _only_passed_again(point, died_at)), "")
    return kills


def _only_passed_again(point: str, died_at: str) -> bool:
    """Whether a run comes to that point only if the manifest that it died after is not there."""
    (stage, step), (died_stage, died_step) = stage_and_step(point), stage_and_step(died_at)
    return stage == died_stage and step in AFTER_MANIFEST and died_step in AFTER_MANIFEST


def test_killed_at_every_step_of_every_stage(new_place: NewPlace, undisturbed: Ended) -> None:
    place = new_place()
    points = chosen(undisturbed.points)
    if place.is_remote:  # three minutes become one
        points = [point for point in points if {*stage_and_step(point)} & {"pairs-1", "reflow-1", *ON_S3}]
    stages, steps = zip(*map(stage_and_step, points), strict=True)
    assert {*stages} == {*undisturbed.digests} and {*steps} == STEPS
    assert kill_at_each(place, points) == len(points)
    require_same(place.run(), undisturbed)


def test_killed_at_random_moments(new_place: NewPlace, undisturbed: Ended) -> None:
    print(f"seed {SEED}")  # pytest shows it when the test fails
    moments = random.Random(SEED)
    delays_s = [moments.uniform(0, 2) for _ in range(MOMENTS)]
    while delays_s:
        require_same(run_through(new_place(), delays_s), undisturbed)


def run_through(place: Place, delays_s: list[float]) -> Ended:
    """Run after run, each killed after the next of the delays, till one comes to its end; takes the delays used."""
    while True:
        found = ended(*place.start(), delays_s[-1] if delays_s else PATIENCE_S)
        if not delays_s or found.exitcode != -signal.SIGKILL:
            return found
        delays_s.pop()


def test_two_runs_at_once_agree(new_place: NewPlace, undisturbed: Ended) -> None:
    place = new_place()
    both = [place.start(), place.start()]
    for one in both:
        require_same(ended(*one), undisturbed)


def test_a_run_that_slept_while_another_finished_damages_nothing(new_place: NewPlace, undisturbed: Ended) -> None:
    place = new_place()
    until = "reflow-1" if place.is_remote else "report"
    process, asked = place.start(stop_at=frozenset(ASLEEP), until=until)
    slept = []
    while _falls_asleep(process):
        slept.append(_lines(asked.folder / "points")[-1])
        stage = slept[-1].partition(":")[0]
        require_same(place.run(until=stage), undisturbed, until=stage)
        os.kill(_id(process), signal.SIGCONT)
    require_same(ended(process, asked), undisturbed, until)
    assert {*slept} == {point for point in ASLEEP if point.partition(":")[0] in _up_to(until, undisturbed)}


def _id(process: ForkServerProcess) -> int:
    assert process.pid is not None
    return process.pid


def _falls_asleep(process: ForkServerProcess) -> bool:
    """Wait until the process is stopped (True) or has ended (False)."""
    deadline = time.monotonic() + PATIENCE_S
    while process.is_alive():
        if psutil.Process(_id(process)).status() == psutil.STATUS_STOPPED:
            return True
        assert time.monotonic() < deadline, "neither stopped nor ended"
        time.sleep(0.02)
    return False
