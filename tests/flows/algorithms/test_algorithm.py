"""An algorithm as a record: what it says of itself fits what it asks for."""

from __future__ import annotations

import pytest

from flows.algorithms import algorithms, find_algorithm
from flows.algorithms.algorithm import Algorithm
from flows.recipes import chain_of, parse_recipe
from infra.recipe import Section
from tasks.stages import STAGES

ALGORITHMS = [find_algorithm(name, "here") for name in algorithms()]


def _nodes_of(algorithm: Algorithm) -> dict[str, Section]:
    wanted = ("world", "train_teacher", "train_clip")
    sections = {name: {} for name in wanted if name in algorithm.recipe.model_fields}
    chain = chain_of(parse_recipe({"name": "test", "algorithm": algorithm.name, **sections}, "test"))
    return {node.id: node.config for node in chain.nodes.values()}


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda one: one.name)
def test_every_stage_is_told_what_its_row_says(algorithm: Algorithm) -> None:
    for stage_id, config in _nodes_of(algorithm).items():
        assert type(config) is STAGES[stage_id.partition("-")[0]].section, stage_id


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda one: one.name)
def test_whose_models_are_measured_is_told_apart(algorithm: Algorithm) -> None:
    names = [role.name for role in algorithm.roles]
    assert len({*names}) == len(names) == len({role.input for role in algorithm.roles})
    assert {role.own_teacher for role in algorithm.roles} <= {*names, None}
    assert bool(algorithm.roles) == ("evaluate" in _nodes_of(algorithm))
