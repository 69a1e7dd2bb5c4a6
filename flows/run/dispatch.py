"""A stage sent to the workers of another pool: shares given out, the dead replaced, finished over what is expected.

Only addresses and digests cross the border. What is done is told by the store alone: a run of Prefect's that says it
has completed counts for nothing, and one that vanished costs what it had not committed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import TerminationSignal

from flows.run import terminal, watch
from flows.run.expectation import done
from flows.run.sent import Sent, called
from flows.run.watch import Watch
from flows.server.children import LOST, POLL_S, Children, children, is_cancelling, is_over, words
from flows.server.mirror import mirrored, telling
from infra.artifact import Artifact, Draft, UnitsMissing
from infra.errors import UserError
from infra.upkeep.runs import BEAT_S, RunRecord
from tasks.progress import Progress
from tasks.sections import Place
from tasks.share import Share
from tasks.stage import Job, finish_stage, stage_fingerprint

_LOOK_S = 10.0  # between looks at what the store has: a listing each
_TAKEN_WITHIN_S = 30.0  # until it is said that no worker has come
REVIVED_WITHIN_S = 10.0  # what has crashed may be taken up again by the server: it is looked at for so long
_FRUITLESS = 3  # crashes in a row without anything made: then there is no sense in going on


@dataclass
class Errand:
    """One stage to be done by the workers of a pool, in the name of a run."""

    stage_id: str
    job: Job
    place: Place
    record: RunRecord

    def parameters(self, share: Share | None) -> dict[str, Any]:
        """What a child is told: all of it JSON."""
        job = self.job
        sent = Sent(
            recipe=self.record.recipe,
            run=self.record.run_id,
            given=self.record.given,
            teacher=self.record.teacher,
            teacher_digest=self.record.teacher_digest,
            digests={role: source.digest for role, source in job.inputs.items()},
            share=share,
        )
        return {
            "config": job.config.model_dump(mode="json"),
            "inputs": {role: source.uri for role, source in job.inputs.items()},
            "store": job.store.url,
            "performance": job.performance.model_dump(mode="json"),
            "name": self.stage_id,
            "gpus": self.place.gpus,
            "sent": sent.model_dump(mode="json"),
        }

    def shares(self, missing: int) -> list[Share | None]:
        """What is given out when so many groups are missing: a lone worker finishes the stage itself."""
        count = min(self.place.workers, missing)
        return [Share(number=number, of=count) for number in range(count)] if count > 1 else [None]


def sent_away(errand: Errand) -> Artifact:
    """The artifact of a stage, made by the workers of its pool; waits as long as that takes.

    Raises UserError with a worker's words when nothing is made any more.
    """
    job, watcher = errand.job, watch.current()
    assert watcher is not None, "a run is written down"
    watcher.elsewhere, watcher.devices = True, errand.place.workers * errand.place.gpus
    identity = stage_fingerprint(job.stage, job.config, job.inputs)
    with (
        Draft(job.store, job.stage.name, identity) as draft,
        children(f"{job.stage.name}/{errand.place.pool}", draft.base) as sent,
        mirrored(errand.stage_id, watcher.behalf) as mirror,
        telling(mirror, draft.base) as committed,
        terminal.shown(errand.stage_id) as progress,
    ):
        try:
            made = _Dispatch(errand, sent, draft, watcher, progress).artifact()
            committed(made)
            return made
        except BaseException as error:
            if not _comes_back(error):
                sent.cancel()
            raise


def _comes_back(error: BaseException) -> bool:
    """Whether this run will be taken up by another worker, and then finds its children again."""
    rescheduled = os.environ.get("PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR") == "reschedule"
    return isinstance(error, TerminationSignal) and rescheduled and not is_cancelling()


def _share_of(child: FlowRun) -> Share | None:
    return Sent.model_validate(child.parameters["sent"]).share


class _Due:
    """Whether so many seconds have passed since it was last said."""

    def __init__(self, every_s: float) -> None:
        self._every_s, self._last_s = every_s, time.monotonic()

    def __call__(self) -> bool:
        due = time.monotonic() - self._last_s >= self._every_s
        self._last_s = time.monotonic() if due else self._last_s
        return due


@dataclass
class _Dispatch:
    """One errand under way."""

    errand: Errand
    children: Children
    draft: Draft
    watch: Watch
    progress: Progress
    over: set[UUID] = field(default_factory=set)
    """Children whose end has been dealt with."""
    made: int = -1
    """How much there was when children were last sent."""

    def artifact(self) -> Artifact:
        """Send children until the store has it; who dies without anything made is not replaced for long."""
        self.over = {run.id for run in self.children.all() if is_over(run)}  # of before a restart
        fruitless = 0
        self._show()  # what was there before
        while True:
            deaths = self._await()
            if artifact := self._finished():
                self._show()
                return artifact
            fruitless = 0 if self._grown() else fruitless + 1
            if deaths and (fruitless == _FRUITLESS or (fruitless and not deaths[-1].is_crashed())):
                where = f"stage {self.errand.stage_id}: on pool {self.errand.place.pool}"
                raise UserError(f"{where}: {deaths[-1].name}: {words(deaths[-1])}")
            self._send(self.errand.shares(self._missing()))

    def _await(self) -> list[State[Any]]:
        """Wait until no child is under way; how those ended that did not complete. The crashed ones are replaced."""
        deaths, alone_s, rounds = list[State[Any]](), time.monotonic(), _Rounds(self)
        while True:
            runs = self.children.all()
            live = [run for run in runs if not is_over(run)]
            ended = [run for run in runs if is_over(run) and run.id not in self.over]
            self.over |= {run.id for run in ended}
            deaths += [run.state for run in ended if run.state and not run.state.is_completed()]
            crashed = [run for run in ended if run.state and run.state.is_crashed()]
            alone_s = time.monotonic() if live or crashed else alone_s
            may_revive = any(death.is_crashed() for death in deaths) and time.monotonic() - alone_s < REVIVED_WITHIN_S
            if not live and not may_revive:
                return deaths
            replaced = [_share_of(run) for run in crashed if run.state and run.state.name != LOST]
            if live and replaced and self._grown():
                self._send(replaced)
            if rounds(live):
                self.children.cancel()
                return deaths
            time.sleep(POLL_S)

    def _finished(self) -> Artifact | None:
        """The artifact, if everything is there; put together here what was made in shares."""
        job = self.errand.job
        if artifact := job.cached():
            return artifact
        try:
            return None if self._missing() else finish_stage(job)
        except UnitsMissing:
            return None

    def _missing(self) -> int:
        """Groups of the stage that are not committed."""
        there = self.draft.committed()
        return sum(any(unit.id not in there for unit in group) for group in self.watch.extent.groups)

    def _grown(self) -> bool:
        """Whether anything was made since this was last asked."""
        before, self.made = self.made, done(self.draft, self.watch.extent)
        return self.made > before

    def _send(self, shares: Sequence[Share | None]) -> None:
        for share in shares:
            self.children.start(called(self.errand.stage_id, share), self.errand.parameters(share))
        runs = "a run" if len(shares) == 1 else f"{len(shares)} runs"
        self._say(f"{runs} on pool {self.errand.place.pool}")

    def _show(self) -> None:
        """Tell the progress, here and in the run's record, as far as the store knows it."""
        made, extent = done(self.draft, self.watch.extent), self.watch.extent
        for tell in (self.progress, self.watch):
            tell(made, extent.total, extent.unit)

    def _say_untaken(self) -> None:
        pool = self.errand.place.pool
        self._say(f"no worker of pool {pool} has taken it yet; `instaflow worker {pool}` starts one")

    def _say(self, text: str) -> None:
        terminal.console().print(f"{self.errand.stage_id}: {text}", markup=False, soft_wrap=True)


class _Rounds:
    """What is done now and then while children are at work."""

    def __init__(self, dispatch: _Dispatch) -> None:
        self._dispatch, self._idle = dispatch, 0
        self._beat, self._look, self._untaken = _Due(BEAT_S), _Due(_LOOK_S), _Due(_TAKEN_WITHIN_S)

    def __call__(self, live: Sequence[FlowRun]) -> bool:
        """Beat, show the progress, say that nobody comes; whether those under way have nothing left to do."""
        if self._beat():
            self._dispatch.watch.beat()
        if self._look():
            self._dispatch._show()
            # at the second look who is still under way is gone, or sleeps
            self._idle = 0 if self._dispatch._missing() else self._idle + 1
        if self._untaken() and live and all(run.state and run.state.is_scheduled() for run in live):
            self._dispatch._say_untaken()
        return self._idle > 1
