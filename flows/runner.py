"""The algorithm's `Do` that does the work: each stage through its own Prefect flow, in this process."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from prefect.client.schemas.objects import State

from flows import sources
from flows.pace import duration
from flows.selection import EVERYTHING, Choice, Selection, needed, select
from flows.stage_flows import STAGE_FLOWS
from flows.stages import stage_of
from flows.terminal import console
from infra.artifact import Artifact, Source, base_of
from infra.environment import environment, utc_now
from infra.recipe import Recipe, Section
from infra.redo import redo_all
from infra.runs import Ref, RunRecord, StageRun, write_begun, write_ref, write_run
from infra.store import Store
from tasks.stage import find_cached, stage_fingerprint

End = Literal["done", "failed", "cancelled"]


@dataclass(frozen=True)
class LeftOut:
    """Stands for the artifact of a stage that this run leaves out and that has not been made before."""

    stage_ids: frozenset[str]


Handle = Source | LeftOut


@dataclass
class Runner:
    """Runs stages and keeps the run's record and the recipe's references up to date."""

    recipe: Recipe
    store: Store
    record: RunRecord
    selection: Selection

    def given(self, tree: str, path: str) -> Handle:
        """A folder that lies ready."""
        return sources.given(tree, path)

    def __call__(self, stage_id: str, config: Section, /, **inputs: Handle | None) -> Handle:
        taken = {role: one for role, one in inputs.items() if one is not None and not isinstance(one, LeftOut)}
        absent = {stage for one in inputs.values() if isinstance(one, LeftOut) for stage in one.stage_ids}
        if stage_id not in self.selection.run:
            return LeftOut(frozenset(absent)) if absent else self._left_out(stage_id, config, taken)
        if absent:
            raise needed(stage_id, absent, self.recipe.name, self.store)
        self._begin(stage_id, config, taken)
        return self._run(stage_id, config, taken)

    def _begin(self, stage_id: str, config: Section, taken: Mapping[str, Source]) -> None:
        kind = stage_of(stage_id)
        base = base_of(kind.name, stage_fingerprint(kind.name, kind.version, config, taken))
        if stage_id in self.selection.force:
            redo_all(self.store, base)
        write_begun(self.store, self.recipe.name, stage_id, base)

    def _left_out(self, stage_id: str, config: Section, taken: Mapping[str, Source]) -> Handle:
        kind = stage_of(stage_id)
        cached = find_cached(kind.name, kind.version, config, taken, self.store)
        if cached is None:
            return LeftOut(frozenset({stage_id}))
        self._note(stage_id, config, cached, cached=True, seconds=0.0)
        return cached

    def _run(self, stage_id: str, config: Section, taken: Mapping[str, Source]) -> Artifact:
        started_s = time.monotonic()
        state = STAGE_FLOWS[stage_of(stage_id).name](
            config=config,
            inputs={role: source.uri for role, source in taken.items()},
            store=self.store.url,
            performance=self.recipe.performance,
            name=stage_id,
            return_state=True,
        )
        assert isinstance(state, State)
        artifact = Artifact.find(self.store, state.result())
        self._note(stage_id, config, artifact, cached=state.name == "Cached", seconds=time.monotonic() - started_s)
        return artifact

    def _note(self, stage_id: str, config: Section, artifact: Artifact, *, cached: bool, seconds: float) -> None:
        done = StageRun(stage=stage_id, artifact=artifact.base, state="cached" if cached else "done", seconds=seconds)
        self.record = self.record.model_copy(update={"stages": [*self.record.stages, done]})
        write_run(self.store, self.record)
        write_ref(self.store, self.recipe.name, stage_id, _ref(artifact, config))
        console().print(f"{stage_id:<14} {'cached' if cached else duration(seconds):>12}  {artifact.base}")

    def end(self, state: End, error: str | None = None) -> None:
        """Write how the run ended."""
        update = {"state": state, "finished_at": utc_now(), "error": error}
        self.record = self.record.model_copy(update=update)
        write_run(self.store, self.record)


@contextmanager
def recorded(recipe: Recipe, store: Store, choice: Choice = EVERYTHING) -> Iterator[Runner]:
    """A runner of the chosen stages whose run record tells how the block ended."""
    selection = select(recipe, choice)
    started_at = utc_now()
    run_id = f"{started_at[:19].replace(':', '')}-{secrets.token_hex(3)}"
    runner = Runner(
        recipe,
        store,
        RunRecord(
            run_id=run_id,
            recipe=recipe.name,
            state="running",
            started_at=started_at,
            environment=environment(),
        ),
        selection,
    )
    write_run(store, runner.record)
    try:
        yield runner
    except BaseException as error:  # Ctrl-C and SIGTERM are no Exceptions
        ended: End = "failed" if isinstance(error, Exception) else "cancelled"
        runner.end(ended, f"{type(error).__name__}: {error}".removesuffix(": "))
        raise
    runner.end("done")


def _ref(artifact: Artifact, config: Section) -> Ref:
    inputs = {record.role: record.digest for record in artifact.manifest.inputs}
    return Ref(artifact=artifact.base, digest=artifact.digest, config=config.identity(), inputs=inputs)
