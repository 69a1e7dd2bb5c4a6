"""A mistake is told in the user's words: where it is, what was found, what was expected."""

from __future__ import annotations

from typing import Any

import pytest

from infra.errors import UserError
from infra.recipe import validated
from tests.infra.recipe.small_recipe import Bread


def told(data: dict[str, Any]) -> list[str]:
    """What is said of the data, one mistake a line."""
    with pytest.raises(UserError) as caught:
        validated(Bread, {"name": "rye", **data}, lambda _: "bread.yaml")
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"oven": {"degres": 3}}, "oven.degres: unknown key. Did you mean oven.degrees?"),
        ({"ovne": {}}, "ovne: unknown key. Did you mean oven?"),
        ({"extend": "tiny"}, "extend: unknown key. Did you mean extends?"),
        ({"oven": {"extend": 1}}, "oven.extend: unknown key. Valid keys here: kind, degrees, steam, brand."),
        ({"phases": [{}, {"minute": 1}]}, "phases.1.minute: unknown key. Did you mean phases.1.minutes?"),
        ({"glaze": {"heet": 1.0}}, "glaze.heet: unknown key. Did you mean glaze.heat?"),
        ({"zzz": 1}, "zzz: unknown key. Valid keys here: name, oven, glaze, phases, loaves, extends."),
        ({"oven": {"degrees": "25"}}, "oven.degrees: found '25', expected a valid integer. (degrees: how hot it is)"),
        ({"oven": {"degrees": 2.5}}, "oven.degrees: found 2.5, expected a valid integer. (degrees: how hot it is)"),
        ({"oven": {"kind": "coal"}}, "oven.kind: found 'coal', expected 'wood' or 'gas'. (kind: what burns)"),
        (
            {"oven": {"steam": 1.0}},
            "oven.steam: found 1.0, expected less than 1. (steam: share of the time under steam)",
        ),
        ({"oven": 3}, "oven: found 3, expected a valid dictionary or instance of Oven. (oven: the oven)"),
        ({"loaves": [1, 0]}, "loaves.1: found 0, expected greater than or equal to 1."),
        ({"glaze": {}, "oven": {"kind": "gas"}}, "recipe: a glaze needs `oven.kind` wood."),
    ],
)
def test_a_mistake_is_named(data: dict[str, Any], expected: str) -> None:
    assert told(data) == [f"bread.yaml: {expected}"]


def test_what_is_missing_says_what_it_means() -> None:
    with pytest.raises(UserError, match=r"^here: name: missing\. \(name: what it is called\)$"):
        validated(Bread, {}, lambda _: "here")


def test_all_mistakes_are_named_at_once() -> None:
    found = told({"oven": {"degrees": 0, "kind": 1}, "loaves": [0], "more": 1})
    assert [line.split(": ")[1] for line in found] == ["oven.kind", "oven.degrees", "loaves.0", "more"]


def test_a_bad_item_does_not_also_make_its_list_too_short() -> None:
    assert [line.split(": ")[1] for line in told({"phases": [{"minutes": 0}]})] == ["phases.0.minutes"]
    (empty,) = told({"phases": []})
    assert empty.startswith("bread.yaml: phases: found [], expected")


def test_a_long_value_is_cut() -> None:
    (line,) = told({"oven": {"degrees": "x" * 500}})
    assert f"found '{'x' * 76}..., expected" in line
