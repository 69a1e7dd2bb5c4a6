"""A recipe placed over workers: its stages are shared out, and the end is that of one process, digest for digest."""

from __future__ import annotations

import psutil
import pytest

from flows.recipes import chain_of, load_recipe
from infra.artifact import Artifact
from infra.store import open_store
from infra.upkeep.runs import list_runs
from tests.one_process import one_process
from tests.workers.conftest import House, shards

OVERRIDES = [
    "prompts={reflow_count: 512, distill_count: 64}",
    "pairs={steps: 12, shard_size: 16}",
]
PLACEMENT = "placement={pairs: {pool: gpu, workers: 2}, reflow: {pool: gpu}}"
UNTIL = {"until": ["reflow-1"]}
pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def undisturbed(standing_house: House) -> dict[str, str]:
    """Digests by stage id of the chain in one process."""
    chain, store = chain_of(load_recipe("tiny", OVERRIDES)), open_store(standing_house.folder / "one-process")
    made = one_process(chain, ["world", "prompts", "pairs-1", "reflow-1"], store)
    return {stage_id: artifact.digest for stage_id, artifact in made.items()}


def test_both_workers_make_units_and_one_that_dies_is_missed_by_nobody(
    house: House, undisturbed: dict[str, str]
) -> None:
    """kill -9 of a worker with its engine in the middle of its share: the other takes it over."""
    store = open_store(house.folder / "placed")
    lost, stays = house.worker("placed-1", "1"), house.worker("placed-2", "2")
    run = house.submit(
        "instaflow/instaflow", recipe="tiny", overrides=[*OVERRIDES, PLACEMENT], store=store.url, choice=UNTIL
    )
    house.until(lambda: {number % 2 for number in shards(store)} == {0, 1})  # every other one is a worker's own
    node = psutil.Process(lost.pid)
    for process in [node, *node.children(recursive=True)]:
        process.kill()
    lost.wait()
    assert len(shards(store)) < 26, "in the middle of it: there is work left to be taken over"
    house.wait(run, "Completed")
    assert stays.poll() is None
    (whole,) = (one for one in list_runs(store) if one.part_of is None)
    found = {stage.stage: Artifact.find(store, stage.artifact).digest for stage in whole.stages}
    assert found == undisturbed
    sent = [one for one in list_runs(store) if one.part_of == whole.run_id]
    assert {stage.stage for one in sent for stage in one.stages} == {"pairs-1", "reflow-1"}
