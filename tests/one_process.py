"""The stages of a chain as functions that are called one after the other: what every way of running them comes to.

`python -m tests.one_process RECIPE STORE` does a whole recipe.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from flows.algorithms.chain import Chain
from flows.recipes import chain_of, load_recipe
from flows.run import sources
from infra.artifact import Artifact, Source
from infra.store import Store, open_store
from tasks.progress import silent
from tasks.stage import run_stage


def one_process(chain: Chain, stage_ids: Sequence[str], store: Store) -> dict[str, Artifact]:
    """The stages of a chain made here, by id."""
    made: dict[str, Artifact] = {}
    for stage_id in stage_ids:
        node = chain.nodes[stage_id]
        inputs: dict[str, Source] = {
            role: made[one] if isinstance(one, str) else sources.given(one.tree, one.path)
            for role, one in node.inputs.items()
        }
        made[stage_id] = run_stage(node.stage, node.config, inputs, store, chain.recipe.performance, silent)
    return made


if __name__ == "__main__":
    whole = chain_of(load_recipe(sys.argv[1]))
    one_process(whole, [*whole.nodes], open_store(sys.argv[2]))
