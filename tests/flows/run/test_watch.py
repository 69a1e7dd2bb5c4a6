"""What a run says of its stages: counts, rates, memory."""

from __future__ import annotations

import psutil
import pytest

from flows.run.watch import Watch, current, watching
from infra.recipe import Section
from tasks.sections import Distill, DistillPhase, ReflowJob, ReflowPhase, TrainClip, TrainTeacher, World
from tasks.stages import STAGES, Extent
from tests.flows.clock import Clock

PHASES = (DistillPhase(steps=10, batch_size=4), DistillPhase(loss="perceptual", steps=5, batch_size=2))


def _extent(config: Section) -> Extent:
    """The work of the stage that is told this."""
    (stage,) = (stage for stage in STAGES.values() if stage.section is type(config))
    return stage.extent(config, ())


def _watch(config: Section, *reports: tuple[float, int, str]) -> Watch:
    clock = Clock()
    watch = Watch(_extent(config), lambda: None, clock)
    for at_s, done, unit in reports:
        clock.now = at_s
        watch(done, 1000, unit)
    clock.now += 1.0
    return watch


def test_what_was_there_before_is_not_counted() -> None:
    told = _watch(World(), (5, 600, "pairs"), (7, 640, "pairs"), (9, 720, "pairs")).measured()
    assert (told["unit"], told["units"], told["samples_per_second"]) == ("pairs", 120, 30.0)
    assert (told["done"], told["total"]) == (720, 1000)
    assert told["seconds"] == told["device_seconds"] == 10.0


def test_a_training_step_is_a_batch_of_samples() -> None:
    config = ReflowJob(phases=(ReflowPhase(batch_size=8),))
    told = _watch(config, (1, 100, "steps"), (2, 110, "steps"), (3, 120, "steps")).measured()
    assert (told["units"], told["samples_per_second"]) == (20, 80.0)


def test_time_between_two_phases_is_no_work() -> None:
    reports = (1, 0, "steps"), (3, 10, "steps"), (50, 10, "steps"), (51, 15, "steps")
    watch = _watch(Distill(phases=PHASES, warmup_steps=0), *reports)
    assert (watch.units, watch.samples, watch.working_s) == (15, 50, 3.0)


def test_nothing_done_is_no_rate() -> None:
    assert _watch(World()).measured()["units"] is None
    told = _watch(World(), (1, 5, "pairs")).measured()
    assert (told["units"], told["samples_per_second"]) == (0, None)


@pytest.mark.parametrize("config", [ReflowJob(), Distill(phases=PHASES, warmup_steps=0), TrainTeacher(), TrainClip()])
def test_samples_add_up_over_the_phases(config: Section) -> None:
    work = _extent(config)
    cuts = [0, 1, work.total // 2, work.total - 1, work.total]
    parts = [work.samples_between(a, b) for a, b in zip(cuts, cuts[1:], strict=False)]
    assert sum(parts) == work.samples_between(0, work.total) == work.cost > work.total and all(parts)


def test_samples_of_two_phases() -> None:
    work = _extent(Distill(phases=PHASES, warmup_steps=0))
    assert [work.samples_between(*cut) for cut in ((0, 10), (9, 11), (10, 15), (0, 15))] == [40, 6, 10, 50]


def test_memory_is_the_processs_peak_in_bytes() -> None:
    now = psutil.Process().memory_info().rss
    peak = _watch(World()).measured()["peak_memory_bytes"]
    assert isinstance(peak, int) and 0.9 * now < peak < 100 * now


def test_a_stage_flow_by_itself_is_watched_by_nobody() -> None:
    watch = Watch(_extent(World()), lambda: None)
    with watching(watch):
        assert current() is watch
    assert current() is None


def test_what_was_there_before_is_resumed() -> None:
    fresh, again = (Watch(_extent(World()), lambda: None) for _ in range(2))
    for done in (0, 1, 2):
        fresh(done, 2, "images")
    for done in (37, 38, 1160):
        again(done, 1160, "images")
    assert (fresh.resumed, again.resumed) == ("", "37/1,160 images")
