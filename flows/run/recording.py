"""What is written down of a run while it goes on: its record, and what it began and made of each stage."""

from __future__ import annotations

import logging
import os
import secrets
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Literal

from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run

from flows.run import opened
from flows.run.before import Before
from flows.run.budget import UNLIMITED, Purse, Spent
from flows.run.terminal import console
from flows.run.watch import Watch, watching
from flows.server import pulse
from infra.artifact import Artifact, Source
from infra.artifact.redo import why_redo
from infra.environment import environment, user, utc_now
from infra.errors import UserError
from infra.recipe import Section
from infra.store import Store, StoreError
from infra.store.at_once import at_once
from infra.upkeep.runs import (
    Ref,
    RunRecord,
    StageRun,
    forget_begun,
    write_begun,
    write_ref,
    write_run,
)
from infra.words import duration
from tasks.stage import Behalf
from tasks.stages import stage_of

ALONE = "_alone"
"""Stands for the recipe of a stage that is run by itself: no recipe can be called so."""

End = Literal["done", "failed", "cancelled"]
Made = Callable[[Artifact | None, bool], None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """What a run starts from, in the words of its record."""

    part_of: str | None = None
    given: str | None = None
    overrides: Sequence[str] = ()
    teacher: str | None = None
    teacher_digest: str | None = None


@dataclass
class Recording:
    """Keeps a run's record and its recipe's references up to date.

    `alarm` is asked now and then; it raises when there is no sense in going on. So does what is left in the `purse`.
    """

    store: Store
    record: RunRecord
    alarm: Callable[[], None]
    purse: Purse = UNLIMITED
    of_terminal: bool = False
    """Whether the server is told that it lives: nobody else would tell."""
    spent: dict[str, Spent] = field(default_factory=dict)
    """What its stages took of devices, here and elsewhere, by stage id."""

    @contextmanager
    def stage(
        self, stage_id: str, base: str, config: Section, taken: Mapping[str, Source], reason: str | None = None
    ) -> Iterator[Made]:
        """Write down the stage that the block does, from its beginning; the block tells what it made, whether cached.

        It is named before it is looked for: from then on nobody sweeps it, or what it is made from.
        """
        has = self.has(stage_id, base)
        if not has:
            inputs = [
                one.base for one in taken.values() if isinstance(one, Artifact) and one.store.url == self.store.url
            ]
            write_begun(self.store, self.record.recipe, stage_id, base, inputs)
            told = {"inputs": inputs, "reason": reason, "started_at": utc_now()}
            self._add(StageRun.model_validate({"stage": stage_id, "artifact": base, "state": "running", **told}))
            self._pulse(stage_id)
        extent = stage_of(stage_id).extent(config, taken)
        is_part = self.record.part_of is not None
        watch = Watch(extent, lambda: self._beat(stage_id, watch), behalf=self.behalf, is_part=is_part)

        def made(artifact: Artifact | None, cached: bool) -> None:
            if not cached:
                self.spent[stage_id] = watch.spent(stage_id)
            if not (has and cached):
                told = {"state": "cached", "seconds": watch.seconds} if cached else watch.measured() | {"state": "done"}
                self._change(stage_id, told | {"finished_at": utc_now()})
            if artifact is None:  # a share of it: who gave it out notes the whole
                return
            if not (has and cached):
                self._note(stage_id, config, artifact)
            self._say(stage_id, artifact)

        try:
            with watching(watch):
                yield made
        except BaseException as error:  # written with the end of the run
            how = {"state": _end(error), "error": _message(error)}
            self._change(stage_id, {**watch.measured(), **how, "finished_at": utc_now()})
            raise

    @property
    def behalf(self) -> Behalf:
        """In whose name its stages are done: of what is part of another run, in that one's."""
        record = self.record
        return Behalf(record.recipe, record.part_of or record.run_id, record.teacher)

    def left_out(self, stage_id: str, config: Section, artifact: Artifact) -> None:
        """Write down what a stage that is left out had made before."""
        if not self.has(stage_id, artifact.base):
            self._add(_found(stage_id, artifact, utc_now()))
            self._note(stage_id, config, artifact)
        self._say(stage_id, artifact)

    def take(self, before: Sequence[Before]) -> None:
        """Take for cached what is whole of what the record names already, and write down what that is.

        What is whole now stays so, for it was named before it was looked for. The record loses the others.
        """
        reasons = at_once(lambda one: why_redo(one.artifact), before)
        sound = {one.stage_id: one for one, reason in zip(before, reasons, strict=True) if reason is None}
        opened.take([one.artifact for one in sound.values()])
        stages = [stage for stage in self.record.stages if stage.stage in sound]
        self.record = self.record.model_copy(update={"stages": stages})
        deque(at_once(lambda one: self._refer(one.stage_id, one.config, one.artifact), sound.values()), maxlen=0)
        forget_begun(self.store, self.record.recipe, sound)

    def has(self, stage_id: str, base: str) -> bool:
        """Whether the stage is known to have been made before."""
        return any((one.stage, one.artifact, one.state) == (stage_id, base, "cached") for one in self.record.stages)

    def end(self, state: End, exit: int | str, error: str | None = None) -> None:
        """Write how the run ended."""
        update = {"state": state, "finished_at": utc_now(), "exit": exit, "error": error}
        self.record = self.record.model_copy(update=update)
        self._write()
        if self.of_terminal:
            pulse.end(self.record)

    def _pulse(self, stage_id: str) -> None:
        if self.of_terminal:
            pulse.beat(self.record, stage_id)

    def _add(self, stage: StageRun) -> None:
        self.record = self.record.model_copy(update={"stages": [*self.record.stages, stage]})
        self._write()

    def _change(self, stage_id: str, update: Mapping[str, object]) -> None:
        """Change what the record says of a stage."""
        stages = [one.model_copy(update=update) if one.stage == stage_id else one for one in self.record.stages]
        self.record = self.record.model_copy(update={"stages": stages})

    def _write(self) -> None:
        self.record = self.record.model_copy(update={"heartbeat_at": utc_now()})
        write_run(self.store, self.record)

    def _beat(self, stage_id: str, watch: Watch) -> None:
        """Give a sign of life, if there is still sense in it."""
        self.alarm()
        self.spent[stage_id] = watch.spent(stage_id)
        self.purse.require(stage_id, [*self.spent.values()])
        self._change(stage_id, watch.measured())
        with _forgiven():
            self._write()
        self._pulse(stage_id)

    def _note(self, stage_id: str, config: Section, artifact: Artifact) -> None:
        self._write()
        self._refer(stage_id, config, artifact)

    def _refer(self, stage_id: str, config: Section, artifact: Artifact) -> None:
        write_ref(self.store, self.record.recipe, stage_id, _ref(artifact, config))

    def _say(self, stage_id: str, artifact: Artifact) -> None:
        stage = next(one for one in self.record.stages if one.stage == stage_id)
        took = "cached" if stage.state == "cached" else duration(stage.seconds)
        console().print(f"{stage_id:<14} {took:>12}  {artifact.base}")


@contextmanager
def recording(
    store: Store,
    recipe: str,
    alarm: Callable[[], None] = lambda: None,
    before: Sequence[Before] = (),
    origin: Origin = Origin(),
    purse: Purse = UNLIMITED,
) -> Iterator[Recording]:
    """The record of a new run of a recipe, which tells how the block ended. It has what of `before` is whole."""
    started_at = utc_now()
    record = RunRecord(
        run_id=f"{started_at[:19].replace(':', '')}-{secrets.token_hex(3)}",
        recipe=recipe,
        **asdict(origin),
        flow_run=flow_run.id,
        state="running",
        started_at=started_at,
        environment=environment(),
        user=user(),
        pid=os.getpid(),
        heartbeat_at=started_at,
        stages=[_found(one.stage_id, one.artifact, started_at) for one in before],
    )
    write_run(store, record)
    run = Recording(store, record, alarm, purse, pulse.is_of_a_terminal())
    try:
        if before:
            run.take(before)
        yield run
    except BaseException as error:  # Ctrl-C and SIGTERM are no Exceptions
        with _forgiven():  # the store may be what it failed with
            run.end(_end(error), _exit(error), _message(error))
        raise
    run.end("done", exit=0)


def _found(stage_id: str, artifact: Artifact, at: str) -> StageRun:
    """A stage that had been made before, as was found at that moment."""
    return StageRun(stage=stage_id, artifact=artifact.base, state="cached", started_at=at, finished_at=at)


@contextmanager
def _forgiven() -> Iterator[None]:
    """A record that cannot be written is logged and forgotten: it only explains."""
    try:
        yield
    except StoreError as error:
        _log.warning("the run's record is not up to date: %s", error)


def _end(error: BaseException) -> End:
    return "failed" if isinstance(error, Exception) else "cancelled"


def _message(error: BaseException) -> str:
    return _signal(error) or f"{type(error).__name__}: {error}".removesuffix(": ")


def _exit(error: BaseException) -> int | str:
    """The exit code of a command that ends with this, or the name of the signal behind it."""
    return _signal(error) or (2 if isinstance(error, UserError) else 1)


def _signal(error: BaseException) -> str | None:
    if isinstance(error, TerminationSignal):
        return signal.Signals(error.signal).name
    return signal.SIGINT.name if isinstance(error, KeyboardInterrupt) else None


def _ref(artifact: Artifact, config: Section) -> Ref:
    inputs = {record.role: record.digest for record in artifact.manifest.inputs}
    return Ref(artifact=artifact.base, digest=artifact.digest, config=config.identity(), inputs=inputs)
