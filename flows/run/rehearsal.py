"""Before the first shard: two samples through the code of every stage, with the user's own teacher and judges.

What no header tells is found here: sizes that do not fit, a solver or a network that gives no numbers, weights of
another network. It is the same chain by the same code, on little work, in a store that is thrown away.
"""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from flows.algorithms.chain import Chain
from flows.run import sources, terminal
from infra.artifact import Source
from infra.artifact.workdir import WorkFolder
from infra.errors import UserError
from infra.recipe import Section
from infra.stopping import attended
from infra.store import Store, open_store
from infra.upkeep.runs import BEAT_S
from infra.words import duration
from tasks.progress import Progress, silent
from tasks.rehearsal import rehearsed
from tasks.sections import Performance
from tasks.stage import run_stage
from tasks.stages import stage_of

NAME = "rehearsal"


def rehearse_stages(chain: Chain, stages: frozenset[str]) -> None:
    """Two samples through each of these stages. Raises UserError naming the one that cannot be done."""
    started = time.monotonic()
    with WorkFolder(NAME) as folder, terminal.shown(NAME) as progress:
        stage = _Rehearsal(open_store(folder), chain.recipe.performance, stages, progress)
        # In a thread that ends, as every stage is done: had the main thread ever computed, its pool of threads would
        # stay, and with more threads than cores libgomp lets those of a stage sleep at once, three times slower.
        attended(lambda: chain.replay(stage), lambda: None, BEAT_S)
    took = duration(time.monotonic() - started)
    terminal.console().print(f"{NAME:<14} {took:>12}  two samples through {len(stages)} stages")


@dataclass
class _Rehearsal:
    """The algorithm's `Do` that does little of everything. A handle of None is a stage that is not needed."""

    store: Store
    performance: Performance
    needed: frozenset[str]
    progress: Progress
    done: int = 0

    def given(self, tree: str, path: str) -> Source | None:
        return sources.given(tree, path)

    def __call__(self, stage_id: str, config: Section, /, **inputs: Source | None) -> Source | None:
        if stage_id not in self.needed:
            return None
        taken = {role: source for role, source in inputs.items() if source is not None}
        try:
            made = run_stage(
                stage_of(stage_id), rehearsed(config), taken, self.store, rehearsed(self.performance), silent
            )
        except Exception as error:  # whatever a stage dies of, it would have died of after hours
            raise UserError(f"{NAME} of stage {stage_id}: {_said(error)}") from error
        self.done += 1
        self.progress(self.done, len(self.needed), "stages")
        return made


def _said(error: Exception) -> str:
    """The words of an error; for those that were not made for users its kind and where it was raised, too."""
    if isinstance(error, UserError):
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno}). The whole run would end so: check"
        " that teacher, judges and settings of this stage fit each other."
    )
