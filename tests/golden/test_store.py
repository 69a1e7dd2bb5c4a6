"""A store of an earlier code (`python -m tests.golden` wrote it) is read, planned, verified and resumed by today's.

It holds three runs of `golden.yaml` (the whole chain on a teacher of 30,000 random parameters, one thread): a finished
one, one killed with -9 in the second shard of its pairs (`killed-pairs`, pairs.seed 9), one killed in its reflow after
the checkpoint of step 9 of 12 (`killed-reflow`, reflow.seed 9). `store.json` holds what each ended with when that code
went on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from flows.recipes import chain_of, load_recipe
from flows.run import sources
from flows.run.planner import Planned, plan
from infra.artifact import Artifact, Source
from infra.recipe import Section
from infra.store import Store, open_store
from infra.upkeep.inventory import entries
from infra.upkeep.runs import list_runs, read_ref
from infra.upkeep.verify import damages
from tasks.progress import silent
from tasks.stage import find_cached, run_stage
from tasks.stages import stage_of
from tests.golden.recorded import golden, require_same_bits

KILLED = {
    "golden": (),
    "killed-pairs": ("name=killed-pairs", "pairs.seed=9"),
    "killed-reflow": ("name=killed-reflow", "reflow.seed=9"),
}


@dataclass
class Here:
    """A `Do` that runs each stage in this process, and notes which it had to do."""

    store: Store
    made: dict[str, Artifact] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)

    def given(self, tree: str, path: str) -> Source:
        return sources.given(tree, path)

    def __call__(self, stage_id: str, config: Section, /, **inputs: Source | None) -> Source:
        taken = {role: one for role, one in inputs.items() if one is not None}
        stage, performance = stage_of(stage_id), load_recipe("golden.yaml").performance
        if find_cached(stage, config, taken, self.store) is None:
            self.done.append(stage_id)
        self.made[stage_id] = run_stage(stage, config, taken, self.store, performance, silent)
        return self.made[stage_id]


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def planned(name: str) -> dict[str, Planned]:
    lines = plan(chain_of(load_recipe("golden.yaml", KILLED[name]).seeded()), open_store("store"))
    return {line.id: line for line in lines}


def test_the_finished_run_is_cached_whole(world: Path) -> None:
    lines = planned("golden")
    assert {line.state for line in lines.values()} == {"cached"}
    expected = golden("store")["golden"]
    assert {
        name: str(line.artifact).endswith(expected[name]["artifact"]) for name, line in lines.items()
    } == dict.fromkeys(expected, True)
    store = open_store("store")
    assert {name: Artifact.find(store, one["artifact"]).digest for name, one in expected.items()} == {
        name: one["digest"] for name, one in expected.items()
    }


def test_every_byte_of_it_is_what_its_manifest_says(world: Path) -> None:
    finished = [entry.artifact for entry in entries(open_store("store")) if entry.artifact]
    assert len(finished) == 11
    assert [damage for artifact in finished for damage in damages(artifact)] == []


def test_its_records_are_read(world: Path) -> None:
    store = open_store("store")
    assert [run.recipe for run in list_runs(store)] == ["golden", "killed-pairs", "killed-reflow"]
    ref = read_ref(store, "golden", "distill")
    assert ref is not None and ref.digest == golden("store")["golden"]["distill"]["digest"]


def test_the_killed_runs_are_planned_from_where_they_were(world: Path) -> None:
    pairs, reflow = planned("killed-pairs")["pairs-1"], planned("killed-reflow")["reflow-1"]
    assert (pairs.state, pairs.done, pairs.total, pairs.unit) == ("resume", 1, 2, "shards")
    assert (reflow.state, reflow.done, reflow.total, reflow.unit) == ("resume", 9, 12, "steps")


@pytest.mark.parametrize(("name", "first"), [("killed-pairs", "pairs-1"), ("killed-reflow", "reflow-1")])
def test_a_killed_run_goes_on_to_the_same_digests(name: str, first: str, world: Path, one_thread: None) -> None:
    require_same_bits()
    do = Here(open_store("store"))
    chain_of(load_recipe("golden.yaml", KILLED[name]).seeded()).replay(do)
    assert do.done[0] == first, "what was finished before is taken as it is"
    assert {stage: one.digest for stage, one in do.made.items()} == {
        stage: one["digest"] for stage, one in golden("store")[name].items()
    }
