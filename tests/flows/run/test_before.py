"""What a chain finds made: manifests, in the order of the chain."""

from __future__ import annotations

from flows.run.before import made_before
from infra.artifact import MANIFEST
from tests.flows.kitchen import CHAIN, Kitchen


def test_what_was_made_is_found_as_far_as_it_is_known_what_it_was_made_from(kitchen: Kitchen) -> None:
    assert made_before(CHAIN, kitchen.store) == []
    kitchen.run(until=("reflow-1",))
    found = made_before(CHAIN, kitchen.store)
    assert [one.stage_id for one in found] == ["world", "prompts", "pairs-1", "reflow-1"]
    assert [one.artifact.base for one in found] == [kitchen.artifact(one.stage_id).base for one in found]
    assert [one.config for one in found] == [CHAIN.nodes[one.stage_id].config for one in found]
    assert [one.stage_id for one in made_before(CHAIN, kitchen.store, but={"pairs-1"})] == ["world", "prompts"]
    kitchen.store.delete(f"{kitchen.artifact('prompts').base}/{MANIFEST}")
    assert [one.stage_id for one in made_before(CHAIN, kitchen.store)] == ["world"]


def test_what_lost_a_file_was_made_all_the_same(kitchen: Kitchen) -> None:
    kitchen.run(until=("world",))
    world = kitchen.artifact("world")
    kitchen.store.delete(f"{world.base}/{world.files()[0].path}")
    assert [one.stage_id for one in made_before(CHAIN, kitchen.store)] == ["world"]
