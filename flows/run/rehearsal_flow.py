"""Where a run is rehearsed: here, or on the pool that its heavy stages are placed on, as a flow of its own."""

from __future__ import annotations

import time
from typing import Any

from prefect import flow

from flows.algorithms.chain import Chain
from flows.recipes import chain_of, parse_recipe
from flows.run.before import made_before
from flows.run.placing import DEFAULT, place_of
from flows.run.rehearsal import NAME, rehearse_stages
from flows.run.selection import Choice, select
from flows.server.arrival import arrive
from flows.server.children import POLL_S, children, is_over, words
from infra.errors import UserError
from infra.store import Store


def rehearse(chain: Chain, store: Store, choice: Choice) -> None:
    """Rehearse what a run will do for the first time or on demand, and what that is made from, if it is several stages.

    Raises UserError naming the stage that cannot be done.
    """
    stages = _to_do(chain, store, choice)
    if len(stages) < 2:
        return
    ancestors, pool = chain.ancestors(), _pool(chain, stages)
    needed = stages.union(*(ancestors[one] for one in stages))
    if pool is None:
        rehearse_stages(chain, needed)
    else:
        _away(chain, needed, store, pool)


def _to_do(chain: Chain, store: Store, choice: Choice) -> frozenset[str]:
    """Ids of these stages; what lost a file since has been through its code before."""
    chosen = select(chain, choice)
    return chosen.run - ({one.stage_id for one in made_before(chain, store)} - chosen.force)


def _pool(chain: Chain, stages: frozenset[str]) -> str | None:
    """The pool of the first stage with a place of its own: there is what the heavy ones need. None is here."""
    told = chain.recipe.placement.keys()
    own = (one for one in chain.nodes if one in stages and told & {one, chain.nodes[one].stage.name})
    pools = (place_of(chain.recipe, one).pool for one in own)
    default = chain.recipe.placement.get(DEFAULT)
    return next(filter(None, pools), default.pool if default else None)


def _away(chain: Chain, stages: frozenset[str], store: Store, pool: str) -> None:
    recipe = chain.recipe.model_dump(mode="json")
    with children(f"{NAME}/{pool}", NAME) as sent:
        try:
            sent.start(NAME, {"recipe": recipe, "stages": sorted(stages), "store": store.url})
            while not all(map(is_over, runs := sent.all())):
                time.sleep(POLL_S)
        except BaseException:
            sent.cancel()
            raise
    state = runs[-1].state
    if state is None or not state.is_completed():
        raise UserError(f"on pool {pool}: {words(state)}")


@flow(name=NAME, flow_run_name=NAME, persist_result=False)
def rehearsal(recipe: dict[str, Any], stages: list[str], store: str) -> None:
    """Two samples through these stages of a recipe, on the machine of a worker."""
    arrive(store)
    chain = chain_of(parse_recipe(recipe, "the pipeline's recipe"))
    rehearse_stages(chain, frozenset(stages))
