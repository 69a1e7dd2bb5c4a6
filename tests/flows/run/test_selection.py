"""Which stages of a chain a run does, and what has to be there for them."""

from __future__ import annotations

import pytest

from flows.recipes import chain_of
from flows.run.selection import Choice, require_inputs, select
from infra.errors import UserError
from infra.recipe import apply_overrides
from infra.upkeep.runs import list_runs
from tests.flows.kitchen import CHAIN, RECIPE, Kitchen

ALL = [
    "world", "prompts", "pairs-1", "reflow-1", "pairs-student", "distill", "pairs-direct", "direct", "real", "evaluate",
    "report",
]  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(), ALL),
        (Choice(only=("pairs", "reflow")), ["pairs-1", "reflow-1", "pairs-student", "pairs-direct"]),
        (Choice(only=("pairs-1",)), ["pairs-1"]),
        (Choice(until=("pairs-1",)), ["world", "prompts", "pairs-1"]),
        (Choice(until=("direct",)), ["world", "prompts", "pairs-1", "pairs-direct", "direct"]),
        (Choice(until=("pairs",)), ["world", "prompts", "pairs-1", "reflow-1", "pairs-student", "pairs-direct"]),
        (Choice(start=("reflow",)), ALL[3:]),
        (Choice(start=("pairs",)), [one for one in ALL if one not in ("world", "prompts")]),
        (Choice(start=("reflow",), until=("distill",)), ["reflow-1", "pairs-student", "distill"]),
        (Choice(start=("world",)), ALL),
    ],
)
def test_what_is_chosen(choice: Choice, expected: list[str]) -> None:
    selection = select(CHAIN, choice)
    assert [stage for stage in ALL if stage in selection.run] == expected
    assert selection.force == frozenset()


def test_what_is_forced() -> None:
    assert select(CHAIN, Choice(force=("pairs",))).force == {"pairs-1", "pairs-student", "pairs-direct"}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(only=("reflwo",)), "--only reflwo: this recipe has no such stage.*Did you mean reflow"),
        (
            Choice(start=("teacher",)),
            "--from teacher: this recipe has no such stage; expected world, prompts, pairs-1",
        ),
        (Choice(only=("pairs",), until=("world",)), "no stage is in all of them"),
        (Choice(only=("pairs",), force=("distill",)), "--force: distill is left out of this run"),
    ],
)
def test_a_choice_that_cannot_be(choice: Choice, message: str) -> None:
    with pytest.raises(UserError, match=message):
        select(CHAIN, choice)


def test_a_missing_stage_is_named_before_anything_runs(kitchen: Kitchen) -> None:
    choice = Choice(only=("distill", "world"))
    with pytest.raises(UserError) as caught:
        require_inputs(CHAIN, kitchen.store, select(CHAIN, Choice(only=("prompts",))))
    assert "stage prompts needs world, which is left out of this run and not in" in str(caught.value)
    assert "instaflow run test --until world" in str(caught.value)
    kitchen.run(until=("prompts",))
    with pytest.raises(UserError, match="stage distill needs pairs-1"):
        require_inputs(CHAIN, kitchen.store, select(CHAIN, choice))
    kitchen.run()
    require_inputs(CHAIN, kitchen.store, select(CHAIN, choice))


def test_a_left_out_stage_below_a_changed_one_is_found_in_its_turn(kitchen: Kitchen) -> None:
    kitchen.run()
    changed = apply_overrides(RECIPE, ["reflow.text_dropout=0.7"])
    choice, chain = {"only": ("reflow", "evaluate")}, chain_of(changed)
    require_inputs(chain, kitchen.store, select(chain, Choice(**choice)))
    with pytest.raises(UserError, match="stage evaluate needs distill, .*pairs-student|evaluate needs pairs-student"):
        kitchen.run(changed, **choice)
    assert kitchen.done == ["reflow-1"]
    assert list_runs(kitchen.store)[-1].state == "failed"
