"""Where the stages of a chain are done, by the recipe's `placement`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from flows.algorithms.chain import Chain
from tasks.sections import Place, Recipe
from tasks.stages import STAGES, gpus_fault, stage_of

DEFAULT = "default"


def place_of(recipe: Recipe, stage_id: str) -> Place:
    """Where a stage is done: by its id, else by its name, else where all others are; else here."""
    told, stage = recipe.placement, stage_of(stage_id)
    named = (one for one in (stage_id, stage.name, DEFAULT) if one in told)
    place = next((told[name] for name in named), Place())
    return place if stage.ranks else place.model_copy(update={"gpus": 1})


def placement_faults(chain: Chain) -> Iterator[str]:
    """What of a placement is no stage of the chain, or has no effect."""
    known = [*dict.fromkeys([*chain.nodes, *(node.stage.name for node in chain.nodes.values())]), DEFAULT]
    for name, place in chain.recipe.placement.items():
        if name not in known and name not in STAGES:
            near = difflib.get_close_matches(name, known, n=1) or known
            yield f"placement.{name}: no stage of {chain.recipe.name}. Did you mean {near[0]}?"
            continue
        if name != DEFAULT and (fault := gpus_fault(stage_of(name), place.gpus)):
            yield f"placement.{name}.gpus: {fault}"
        if place.workers > 1 and place.pool is None:
            yield f"placement.{name}.workers: {place.workers} workers need a pool: set placement.{name}.pool."
