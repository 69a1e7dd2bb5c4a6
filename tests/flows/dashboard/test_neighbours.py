"""An artifact amid its neighbours, in a picture of bounded size."""

from __future__ import annotations

from pathlib import Path

from flows.dashboard.neighbours import AT_ONCE, DOWN, UP, drawn
from flows.observed.lineage import Lineage
from flows.observed.reading import read
from infra.store import open_store
from tests.flows.observed.small_store import NOW
from tests.infra.chain import make, make_chain


def test_inputs_stand_to_the_left_and_what_was_made_of_it_to_the_right(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    made = make_chain(store, tmp_path / "teacher")
    picture = drawn(Lineage(read(store, NOW)), made["pairs-1"].base)
    x = {node.label: node.x for node in picture.nodes}
    assert x["teacher"] == x["prompts"] < x["pairs"] < x["distill"] and len(picture.edges) == 3
    given = next(node for node in picture.nodes if node.label == "teacher")
    assert given.base is None and not given.is_there
    assert all(node.x < picture.width and node.y < picture.height for node in picture.nodes)


def test_a_picture_has_a_bounded_number_of_nodes(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    first = make(store, "prompts", {})
    for seed in range(30):
        make(store, "pairs", {"prompts": first}, {"seed": seed})
    picture = drawn(Lineage(read(store, NOW)), first.base)
    assert len(picture.nodes) == 1 + AT_ONCE <= 1 + AT_ONCE * (UP + DOWN) and picture.left_out == 30 - AT_ONCE


def test_an_artifact_that_was_made_from_itself_ends(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    artifact = make(store, "pairs", {})
    path = f"{artifact.base}/manifest.json"
    itself = {"role": "pairs", "uri": artifact.uri, "digest": "0" * 64}
    told = artifact.manifest.model_validate({**artifact.manifest.model_dump(), "inputs": [itself]})
    store.write(path, told.to_bytes())
    assert len(drawn(Lineage(read(store, NOW)), artifact.base).nodes) == 1
