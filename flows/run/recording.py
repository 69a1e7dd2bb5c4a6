"""What is written down of a run while it goes on: its record, and what it began and made of each stage."""

from __future__ import annotations

import logging
import os
import secrets
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from prefect.exceptions import TerminationSignal

from flows.run.terminal import console
from flows.run.watch import Watch, watching
from infra.artifact import Artifact, Source
from infra.environment import environment, user, utc_now
from infra.errors import UserError
from infra.recipe import Section
from infra.store import Store, StoreError
from infra.upkeep.runs import Ref, RunRecord, StageRun, write_begun, write_ref, write_run
from infra.words import duration
from tasks.stages import stage_of

ALONE = "_alone"
"""Stands for the recipe of a stage that is run by itself: no recipe can be called so."""

End = Literal["done", "failed", "cancelled"]
Made = Callable[[Artifact, bool], None]
_log = logging.getLogger(__name__)


@dataclass
class Recording:
    """Keeps a run's record and its recipe's references up to date.

    `alarm` is asked now and then; it raises when there is no sense in going on. `given` is what the run starts from, by
    kind and digest: what runs on something else made is kept beside.
    """

    store: Store
    record: RunRecord
    alarm: Callable[[], None]
    given: set[tuple[str, str]] = field(default_factory=set)

    @contextmanager
    def stage(self, stage_id: str, base: str, config: Section, taken: Mapping[str, Source]) -> Iterator[Made]:
        """Write down the stage that the block does, from its beginning; the block tells what it made, whether cached.

        It is named before it is looked for: from then on nobody sweeps it, or what it is made from.
        """
        inputs = [one.base for one in taken.values() if isinstance(one, Artifact) and one.store.url == self.store.url]
        write_begun(self.store, self.record.recipe, stage_id, base, inputs, self.given)
        self._add(StageRun(stage=stage_id, artifact=base, state="running", inputs=inputs))
        watch = Watch(stage_of(stage_id).extent(config, taken), lambda: self._beat(watch))

        def made(artifact: Artifact, cached: bool) -> None:
            told = {"state": "cached", "seconds": watch.seconds} if cached else watch.measured() | {"state": "done"}
            self._change(told)
            self._noted(stage_id, config, artifact)

        try:
            with watching(watch):
                yield made
        except BaseException as error:  # written with the end of the run
            self._change(watch.measured() | {"state": _end(error), "error": _message(error)})
            raise

    def left_out(self, stage_id: str, config: Section, artifact: Artifact) -> None:
        """Write down what a stage that is left out had made before."""
        write_begun(self.store, self.record.recipe, stage_id, artifact.base, given=self.given)
        self._add(StageRun(stage=stage_id, artifact=artifact.base, state="cached"))
        self._noted(stage_id, config, artifact)

    def end(self, state: End, exit: int | str, error: str | None = None) -> None:
        """Write how the run ended."""
        update = {"state": state, "finished_at": utc_now(), "exit": exit, "error": error}
        self.record = self.record.model_copy(update=update)
        self._write()

    def _add(self, stage: StageRun) -> None:
        self.record = self.record.model_copy(update={"stages": [*self.record.stages, stage]})
        self._write()

    def _change(self, update: Mapping[str, object]) -> None:
        """Change what the record says of the last stage."""
        *before, last = self.record.stages
        self.record = self.record.model_copy(update={"stages": [*before, last.model_copy(update=update)]})

    def _write(self) -> None:
        self.record = self.record.model_copy(update={"heartbeat_at": utc_now()})
        write_run(self.store, self.record)

    def _beat(self, watch: Watch) -> None:
        """Give a sign of life, if there is still sense in it."""
        self.alarm()
        self._change(watch.measured())
        with _forgiven():
            self._write()

    def _noted(self, stage_id: str, config: Section, artifact: Artifact) -> None:
        self._write()
        write_ref(self.store, self.record.recipe, stage_id, _ref(artifact, config))
        last = self.record.stages[-1]
        took = "cached" if last.state == "cached" else duration(last.seconds)
        console().print(f"{stage_id:<14} {took:>12}  {artifact.base}")


@contextmanager
def recording(
    store: Store, recipe: str, alarm: Callable[[], None] = lambda: None, given: Iterable[tuple[str, str]] = ()
) -> Iterator[Recording]:
    """The record of a new run of a recipe, which tells how the block ended."""
    started_at = utc_now()
    record = RunRecord(
        run_id=f"{started_at[:19].replace(':', '')}-{secrets.token_hex(3)}",
        recipe=recipe,
        state="running",
        started_at=started_at,
        environment=environment(),
        user=user(),
        pid=os.getpid(),
        heartbeat_at=started_at,
    )
    write_run(store, record)
    run = Recording(store, record, alarm, {*given})
    try:
        yield run
    except BaseException as error:  # Ctrl-C and SIGTERM are no Exceptions
        with _forgiven():  # the store may be what it failed with
            run.end(_end(error), _exit(error), _message(error))
        raise
    run.end("done", exit=0)


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
