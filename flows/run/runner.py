"""The algorithm's `Do` that does the work: each stage through its own Prefect flow, in this process."""

from __future__ import annotations

import logging
import os
import secrets
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal

from flows.algorithms.chain import Chain
from flows.run import sources
from flows.run.selection import EVERYTHING, Choice, Selection, needed, select
from flows.run.stage_flow import STAGE_FLOWS
from flows.run.terminal import console
from flows.run.watch import Watch, watching
from infra.artifact import Artifact, Source, base_of
from infra.artifact.redo import redo_all
from infra.environment import environment, user, utc_now
from infra.errors import UserError
from infra.recipe import Section
from infra.store import Store, StoreError
from infra.upkeep.runs import Ref, RunRecord, StageRun, write_begun, write_ref, write_run
from infra.words import duration
from tasks.stage import find_cached, stage_fingerprint
from tasks.stages import stage_of

End = Literal["done", "failed", "cancelled"]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeftOut:
    """Stands for the artifact of a stage that this run leaves out and that has not been made before."""

    stage_ids: frozenset[str]


Handle = Source | LeftOut


@dataclass
class Runner:
    """Runs stages and keeps the run's record and the recipe's references up to date.

    `alarm` is asked now and then; it raises when there is no sense in going on.
    """

    chain: Chain
    store: Store
    record: RunRecord
    selection: Selection
    alarm: Callable[[], None]

    def given(self, tree: str, path: str) -> Handle:
        """A folder that lies ready."""
        return sources.given(tree, path)

    def __call__(self, stage_id: str, config: Section, /, **inputs: Handle | None) -> Handle:
        taken = {role: one for role, one in inputs.items() if one is not None and not isinstance(one, LeftOut)}
        absent = {stage for one in inputs.values() if isinstance(one, LeftOut) for stage in one.stage_ids}
        if stage_id not in self.selection.run:
            return LeftOut(frozenset(absent)) if absent else self._left_out(stage_id, config, taken)
        if absent:
            raise needed(stage_id, absent, self.chain.recipe.name, self.store)
        self._begin(stage_id, config, taken)
        return self._run(stage_id, config, taken)

    def _begin(self, stage_id: str, config: Section, taken: Mapping[str, Source]) -> None:
        self.alarm()
        kind = stage_of(stage_id)
        base = base_of(kind.name, stage_fingerprint(kind, config, taken))
        if stage_id in self.selection.force:
            redo_all(self.store, base)
        write_begun(self.store, self.chain.recipe.name, stage_id, base)
        self._add(StageRun(stage=stage_id, artifact=base, state="running"))

    def _left_out(self, stage_id: str, config: Section, taken: Mapping[str, Source]) -> Handle:
        cached = find_cached(stage_of(stage_id), config, taken, self.store)
        if cached is None:
            return LeftOut(frozenset({stage_id}))
        self._add(StageRun(stage=stage_id, artifact=cached.base, state="cached"))
        self._noted(stage_id, config, cached)
        return cached

    def _run(self, stage_id: str, config: Section, taken: Mapping[str, Source]) -> Artifact:
        watch = Watch(stage_of(stage_id).extent(config, taken), lambda: self._beat(watch))
        try:
            with watching(watch):
                state = STAGE_FLOWS[stage_of(stage_id).name](
                    config=config,
                    inputs={role: source.uri for role, source in taken.items()},
                    store=self.store.url,
                    performance=self.chain.recipe.performance,
                    name=stage_id,
                    return_state=True,
                )
            assert isinstance(state, State)
            artifact = Artifact.find(self.store, state.result())
        except BaseException as error:  # written with the end of the run
            self._change(watch.measured() | {"state": _end(error), "error": _message(error)})
            raise
        cached = state.name == "Cached"
        self._change({"state": "cached", "seconds": watch.seconds} if cached else watch.measured() | {"state": "done"})
        self._noted(stage_id, config, artifact)
        return artifact

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
        write_ref(self.store, self.chain.recipe.name, stage_id, _ref(artifact, config))
        last = self.record.stages[-1]
        took = "cached" if last.state == "cached" else duration(last.seconds)
        console().print(f"{stage_id:<14} {took:>12}  {artifact.base}")

    def end(self, state: End, exit: int | str, error: str | None = None) -> None:
        """Write how the run ended."""
        update = {"state": state, "finished_at": utc_now(), "exit": exit, "error": error}
        self.record = self.record.model_copy(update=update)
        self._write()


@contextmanager
def recorded(
    chain: Chain, store: Store, choice: Choice = EVERYTHING, alarm: Callable[[], None] = lambda: None
) -> Iterator[Runner]:
    """A runner of the chosen stages whose run record tells how the block ended."""
    selection = select(chain, choice)
    started_at = utc_now()
    run_id = f"{started_at[:19].replace(':', '')}-{secrets.token_hex(3)}"
    runner = Runner(
        chain,
        store,
        RunRecord(
            run_id=run_id,
            recipe=chain.recipe.name,
            state="running",
            started_at=started_at,
            environment=environment(),
            user=user(),
            pid=os.getpid(),
            heartbeat_at=started_at,
        ),
        selection,
        alarm,
    )
    write_run(store, runner.record)
    try:
        yield runner
    except BaseException as error:  # Ctrl-C and SIGTERM are no Exceptions
        with _forgiven():  # the store may be what it failed with
            runner.end(_end(error), _exit(error), _message(error))
        raise
    runner.end("done", exit=0)


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
