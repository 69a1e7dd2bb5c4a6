"""Before the first shard: two samples through the code of every stage, with the user's own teacher and judges.

What no header tells is found here: sizes that do not fit, a solver or a network that gives no numbers, weights of
another network. It is the same chain by the same code, on little work, in a store that is thrown away. What
went through once is not tried again: a run that is taken up again goes on at once.
"""

from __future__ import annotations

import os
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from flows.algorithms.chain import Chain, Given
from flows.run import sources, terminal
from infra.artifact import Source
from infra.artifact.fingerprint import canonical_json, sha256_bytes
from infra.artifact.stamps import is_noted, note
from infra.artifact.workdir import WorkFolder
from infra.environment import environment
from infra.errors import UserError
from infra.recipe import Section
from infra.release import release
from infra.stopping import attended
from infra.store import Store, open_store
from infra.upkeep.runs import BEAT_S
from infra.words import duration
from tasks.progress import Progress, silent
from tasks.rehearsal import rehearsed
from tasks.sections import Performance
from tasks.stage import named_files, run_stage
from tasks.stages import stage_of

NAME = "rehearsal"


def rehearse_stages(chain: Chain, stages: frozenset[str]) -> None:
    """Two samples through each of these stages that the machine has not seen succeed since it was started.

    Raises UserError naming the one that cannot be done.
    """
    notes, started = {one: f"{NAME} {key}" for one, key in _keys(chain, stages).items()}, time.monotonic()
    unseen = frozenset(one for one in stages if not is_noted(notes[one]))
    if not unseen:
        terminal.console().print(f"{NAME:<14} {'not again':>12}  the same {len(stages)} stages went through before")
        return
    ancestors = chain.ancestors()
    needed = unseen.union(*(ancestors[one] for one in unseen))
    _try(chain, needed)
    for one in unseen:
        note(notes[one])
    took = duration(time.monotonic() - started)
    terminal.console().print(f"{NAME:<14} {took:>12}  two samples through {len(needed)} stages")


def _keys(chain: Chain, stages: frozenset[str]) -> dict[str, str]:
    """By stage what stands for all that its trial depends on: two runs that differ in their counts alone have the same.

    `stages` has with each stage what that is made from.
    """
    machine: dict[str, JsonValue] = {
        "performance": rehearsed(chain.recipe.performance).model_dump(mode="json"),
        "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "environment": {**environment(), "release": release()},
    }
    nodes, keys = [node for node in chain.nodes.values() if node.id in stages], dict[str | Given, str]()
    for one in {one for node in nodes for one in node.inputs.values() if isinstance(one, Given)}:
        keys[one] = sources.given(one.tree, one.path).digest  # the teacher of many stages is looked through once
    for node in nodes:
        config = rehearsed(node.config)
        told: dict[str, JsonValue] = machine | {
            "stage": node.id,
            "config": config.model_dump(mode="json"),
            "inputs": {role: keys[source] for role, source in node.inputs.items()},
            "files": {name: one.digest for name, one in named_files(node.stage, config).items()},
        }
        keys[node.id] = sha256_bytes(canonical_json(told))
    return {one: keys[one] for one in stages}


def _try(chain: Chain, stages: frozenset[str]) -> None:
    with WorkFolder(NAME) as folder, terminal.shown(NAME) as progress:
        stage = _Rehearsal(open_store(folder), chain.recipe.performance, stages, progress)
        # In a thread that ends, as every stage is done: had the main thread ever computed, its pool of threads would
        # stay, and with more threads than cores libgomp lets those of a stage sleep at once, three times slower.
        attended(lambda: chain.replay(stage), lambda: None, BEAT_S)


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
