"""What has been made of a chain before: its manifests, read in the order of the chain."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from flows.algorithms.chain import Chain
from flows.run import opened, sources
from infra.artifact import Artifact, Source
from infra.recipe import Section
from infra.store import Store
from tasks.stages import stage_of


@dataclass(frozen=True)
class Before:
    """What a stage has made before, whole or not."""

    stage_id: str
    config: Section
    artifact: Artifact


def made_before(chain: Chain, store: Store, but: Collection[str] = ()) -> list[Before]:
    """What the stages have made, but for these and what is made from them. Raises UserError, StoreError."""
    look = _Look(store, but)
    chain.replay(look)
    return look.found


@dataclass
class _Look:
    """The algorithm's `Do` that reads manifests. A handle of None is a stage that has none."""

    store: Store
    but: Collection[str]
    found: list[Before] = field(default_factory=list)

    def given(self, tree: str, path: str) -> Source:
        return sources.given(tree, path)

    def __call__(self, stage_id: str, config: Section, /, **inputs: Source | None) -> Source | None:
        taken = {role: one for role, one in inputs.items() if one is not None}
        if stage_id in self.but or len(taken) < len(inputs):
            return None
        artifact = opened.committed(stage_of(stage_id), config, taken, self.store)
        if artifact is not None:
            self.found.append(Before(stage_id, config, artifact))
        return artifact
