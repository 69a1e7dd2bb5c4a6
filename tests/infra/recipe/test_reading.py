"""Plain data becomes a checked recipe; overrides are set on top, and a bad one is named."""

from __future__ import annotations

import pytest

from infra.errors import UserError
from infra.recipe import apply_overrides, validated
from tests.infra.recipe.small_recipe import Bread, Oven, Phase


def test_data_is_a_recipe_of_that_kind() -> None:
    found = validated(Bread, {"name": "rye", "phases": [{"minutes": 3}], "loaves": [4]}, str)
    assert found == Bread(name="rye", phases=(Phase(minutes=3),), loaves=(4,))


def test_where_a_mistake_is_from_depends_on_the_place() -> None:
    with pytest.raises(UserError) as caught:
        validated(Bread, {"name": "rye", "oven": {"degrees": 0}, "loaves": [0]}, lambda place: f"file of {place}")
    assert [line.partition(": ")[0] for line in str(caught.value).splitlines()] == [
        "file of ('oven', 'degrees')",
        "file of ('loaves', '0')",
    ]


def test_overrides_are_yaml() -> None:
    given = ["oven.degrees=190", "oven.kind=gas", "loaves=[3]", "oven.steam=1e-1", "oven.degrees=190", "name=a"]
    found = apply_overrides(Bread(name="rye", oven=Oven(brand="mine")), given)
    assert found == Bread(name="a", oven=Oven(kind="gas", degrees=190, steam=0.1, brand="mine"), loaves=(3,))


def test_a_section_that_is_off_is_turned_on_by_a_field_of_it() -> None:
    assert apply_overrides(Bread(name="rye"), ["glaze.minutes=2"]).glaze == Phase(minutes=2)
    assert apply_overrides(Bread(name="rye", glaze=Phase()), ["glaze=null"]).glaze is None


def test_the_recipe_itself_is_left_as_it_is() -> None:
    bread = Bread(name="rye")
    apply_overrides(bread, ["oven.degrees=1", "phases=[{minutes: 1}]"])
    assert bread == Bread(name="rye")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("oven.degres=3", "--set oven.degres=3: oven.degres: unknown key. Did you mean oven.degrees?"),
        ("oven.degrees=no", "--set oven.degrees=no: oven.degrees: found 'no', expected a valid integer"),
        ("oven.degrees=010", "--set oven.degrees=010: oven.degrees: found '010', expected a valid integer"),
        ("oven.degrees=1:30", "--set oven.degrees=1:30: oven.degrees: found '1:30', expected a valid integer"),
        ("oven=3", "--set oven=3: oven: found 3, expected a valid dictionary"),
        ("oven.degrees", "--set oven.degrees: expected key=value"),
        ("=3", "--set =3: expected key=value"),
        ("oven.=3", "--set oven.=3: expected key=value"),
        ("name.x=1", "--set name.x=1: name is 'rye' and has no fields; expected a section"),
        ("phases.0.minutes=1", "--set phases.0.minutes=1: phases is a list: set it whole, for instance phases=[...]"),
        ("oven.degrees=[", "--set oven.degrees=[: line 1, column 2: no valid YAML"),
    ],
)
def test_a_bad_override_is_named(override: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        apply_overrides(Bread(name="rye"), ["loaves=[5]", override])
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "undone", "by"),
    [
        (["oven.degrees=180", "oven.degrees=190"], "oven.degrees=180", "oven.degrees=190"),
        (["oven.degrees=180", "oven={kind: gas}"], "oven.degrees=180", "oven={kind: gas}"),
        (["oven={kind: gas}", "oven.kind=wood"], "oven={kind: gas}", "oven.kind=wood"),
        (["glaze=null", "glaze.minutes=3"], "glaze=null", "glaze.minutes=3"),
        (["glaze.minutes=3", "glaze=null"], "glaze.minutes=3", "glaze=null"),
        (["name=a", "loaves=[1]", "loaves=[2]", "name=a"], "loaves=[1]", "loaves=[2]"),
        (["oven.steam=.nan", "oven.steam=0.5"], "oven.steam=.nan", "oven.steam=0.5"),
    ],
)
def test_overrides_that_contradict_each_other_are_refused(overrides: list[str], undone: str, by: str) -> None:
    with pytest.raises(UserError) as caught:
        apply_overrides(Bread(name="rye"), overrides)
    assert str(caught.value) == f"--set {undone}: contradicted by --set {by}. Give one of them."


def test_a_field_may_be_added_to_a_section_that_is_set() -> None:
    found = apply_overrides(Bread(name="rye"), ["oven={kind: gas}", "oven.degrees=180"])
    assert found.oven == Oven(kind="gas", degrees=180)


def test_overrides_that_do_not_go_together_are_named_together() -> None:
    with pytest.raises(UserError) as caught:
        apply_overrides(Bread(name="rye"), ["glaze.minutes=1", "oven.kind=gas"])
    assert str(caught.value) == "--set oven.kind=gas: recipe: a glaze needs `oven.kind` wood."
