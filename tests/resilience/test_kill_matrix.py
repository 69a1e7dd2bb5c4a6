"""Nothing is lost: SIGKILL at every step of the commit protocol, at any moment, two runs at once, a run asleep.

Real processes over the real stages (`driver.py`), on a local store and on a real S3 server. Whatever
happens, what has a manifest is whole and the end is the artifacts of an undisturbed run, digest for digest.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess

import psutil
import pytest

from tests.resilience.conftest import NewPlace
from tests.resilience.places import PATIENCE_S, Ended, Place, ended, points_of, require_same, up_to

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the longest takes two minutes

AFTER_MANIFEST = ("manifest-done", "deleted")
STEPS = {
    "blob", "unit", "unit-done", "manifest", *AFTER_MANIFEST, "checkpoint-blob", "checkpoint-record",
    "checkpoint-done", "checkpoint-record-deleted", "checkpoint-blob-deleted",
}  # fmt: skip
MOMENTS = 20
SEED = 20240131
ASLEEP = {  # where a run falls asleep while another one finishes the artifact
    "world:unit:coco",
    "teacher:checkpoint-record:denoiser",
    "clip:checkpoint-done:reader",
    "prompts:blob:prompts.parquet",
    "pairs-1:blob:shard-000001.index.parquet",
    "reflow-1:checkpoint-record-deleted:phase-0-l2",
    "pairs-student:unit:index",
    "distill:manifest",
    "direct:manifest-done",
    "evaluate:unit:2-rf-1.00001",
    "report:blob:metrics.json",
}


def chosen(points: Sequence[str], is_remote: bool, stages: Sequence[str]) -> list[str]:
    """Every step of every stage, with the first and the last of the blobs, units, phases or files that it is about.

    On S3, where all takes longer, with the first, and of the stages to the first training on pairs.
    """
    steps: dict[tuple[str, str], list[str]] = {}
    for point in points:
        if (at := stage_and_step(point))[0] in stages:
            steps.setdefault(at, []).append(point)
    ends = (0,) if is_remote else (0, -1)
    return [*dict.fromkeys(mine[end] for mine in steps.values() for end in ends)]


def stage_and_step(point: str) -> tuple[str, str]:
    stage, step, *_ = point.split(":")
    return stage, step


def kill_at_each(place: Place, points: Sequence[str], until: str) -> int:
    """Kill run after run, each at the first of these points that none has died at; how many there were."""
    left, reopen, kills = dict.fromkeys(points), "", 0
    while left:
        found = place.run(kill_at=frozenset(left), reopen=reopen, until=until)
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
    until = "reflow-1" if place.is_remote else "report"
    points = chosen(undisturbed.points, place.is_remote, up_to(until, undisturbed))
    stages, steps = zip(*map(stage_and_step, points), strict=True)
    assert {*stages} == {*up_to(until, undisturbed)} and {*steps} == STEPS
    assert kill_at_each(place, points, until) == len(points)
    require_same(place.run(until=until), undisturbed, until)


def test_killed_at_random_moments(new_place: NewPlace, undisturbed: Ended) -> None:
    print(f"seed {SEED}")  # pytest shows it when the test fails
    moments = random.Random(SEED)
    place = new_place()
    delays_s = [moments.uniform(0, 2) for _ in range(MOMENTS // 2 if place.is_remote else MOMENTS)]
    while delays_s:
        require_same(run_through(place, delays_s), undisturbed)
        place = new_place()


def run_through(place: Place, delays_s: list[float]) -> Ended:
    """Run after run, each killed after the next of the delays, till one comes to its end; takes the delays used."""
    while True:
        found = ended(*place.start(), delays_s[-1] if delays_s else PATIENCE_S)
        if not delays_s or found.exitcode != -signal.SIGKILL:
            return found
        delays_s.pop()


def test_two_runs_at_once_agree(new_place: NewPlace, undisturbed: Ended) -> None:
    place = new_place()
    until = "reflow-1" if place.is_remote else "report"
    both = [place.start(until=until), place.start(until=until)]
    for one in both:
        require_same(ended(*one), undisturbed, until)


def test_a_run_that_slept_while_another_finished_damages_nothing(new_place: NewPlace, undisturbed: Ended) -> None:
    place = new_place()
    until = "reflow-1" if place.is_remote else "report"
    process, asked = place.start(stop_at=frozenset(ASLEEP), until=until)
    slept = []
    while _falls_asleep(process):
        slept.append(points_of(asked)[-1])
        stage = slept[-1].partition(":")[0]
        require_same(place.run(until=stage), undisturbed, until=stage)
        os.kill(_id(process), signal.SIGCONT)
    require_same(ended(process, asked), undisturbed, until)
    assert {*slept} == {point for point in ASLEEP if point.partition(":")[0] in up_to(until, undisturbed)}


@pytest.mark.parametrize("asleep", ["reflow-1:unit:model", "reflow-1:manifest"])
def test_a_run_that_wakes_beside_a_forced_one_damages_nothing(
    asleep: str, new_place: NewPlace, undisturbed: Ended
) -> None:
    """One sleeps, another is forced and half done when the first wakes and ends; the forced one ends with its own."""
    place = new_place()
    first, first_asked = place.start(stop_at=frozenset({asleep}), until="reflow-1")
    assert _falls_asleep(first)
    forced, forced_asked = place.start(
        stop_at=frozenset({"reflow-1:checkpoint-done:phase-0-l2"}), until="reflow-1", force="reflow-1"
    )
    assert _falls_asleep(forced)
    os.kill(_id(first), signal.SIGCONT)
    require_same(ended(first, first_asked), undisturbed, "reflow-1")
    os.kill(_id(forced), signal.SIGCONT)
    while _falls_asleep(forced):  # at each of its checkpoints
        os.kill(_id(forced), signal.SIGCONT)
    require_same(ended(forced, forced_asked), undisturbed, "reflow-1")
    steps = [point for point in points_of(forced_asked) if point.startswith("reflow-1:checkpoint-done")]
    assert len(steps) == 4, "it went on from its own checkpoints, which nobody deleted"


def _id(process: ForkServerProcess) -> int:
    assert process.pid is not None
    return process.pid


def _falls_asleep(process: ForkServerProcess) -> bool:
    """Wait until the process is stopped (True) or has ended (False)."""
    deadline = time.monotonic() + PATIENCE_S
    while process.is_alive():
        # The fork server buries its children: one that has just ended may be gone before its end is told here.
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(_id(process)).status() == psutil.STATUS_STOPPED:
                return True
        assert time.monotonic() < deadline, "neither stopped nor ended"
        time.sleep(0.02)
    return False
