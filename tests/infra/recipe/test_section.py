"""A section is frozen and strict; its identity is what shapes the output, and a field may come later."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field, JsonValue, ValidationError

from infra.artifact.fingerprint import fingerprint
from infra.errors import UserError
from infra.recipe import FILES, Section, apply_overrides, as_before
from tests.infra.recipe.small_recipe import Bread, Oven, Phase


@pytest.mark.parametrize(
    "data",
    [
        {"degrees": "200"},
        {"degrees": 200.5},
        {"degrees": True},
        {"degrees": 0},
        {"steam": 1.0},
        {"steam": float("nan")},
        {"kind": "coal"},
        {"degres": 200},
    ],
)
def test_what_is_not_meant_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Oven(**data)


@pytest.mark.parametrize(
    "address", ["https://host/x?sig=hunter2", "s3://key:hunter2@bucket/x", "https://hunter2@host/x"]
)
def test_a_secret_in_the_address_of_a_file_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(ValidationError, match=r"brand\n.*the URL carries") as caught:
        Oven(brand=address)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(UserError, match=r"--set oven\.brand=.*: oven\.brand: path .*the URL carries") as told:
        apply_overrides(Bread(name="rye"), [f"oven.brand={address}"])
    assert "hunter2" not in str(told.value)
    assert Oven(brand="s3://bucket/part-?.parquet").brand == "s3://bucket/part-?.parquet"


def test_a_section_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Oven().degrees = 100  # type: ignore[misc]
    assert {Oven(): 1}[Oven()] == 1


def test_the_identity_is_plain_data_with_defaults_filled_in() -> None:
    assert Bread(name="rye", phases=(Phase(), Phase(minutes=5))).identity() == {
        "name": "rye",
        "oven": {"kind": "wood", "degrees": 200, "steam": 0.1},
        "glaze": None,
        "phases": [{"minutes": 10, "heat": 1e-4}, {"minutes": 5, "heat": 1e-4}],
        "loaves": [1, 2],
    }


def test_what_stands_aside_is_no_identity_however_deep_it_lies() -> None:
    bread, other = Bread(name="rye"), Bread(name="rye", oven=Oven(brand="mine"))
    assert bread != other and bread.identity() == other.identity()


class Before(Section):
    """A section as it was."""

    steps: int = Field(default=3, description="steps")


PHASES = [Phase().identity(), Phase(minutes=1).identity()]


class After(Before):
    """The same with fields that came later: of every kind a field can be."""

    guidance: float = Field(default=2.0, description="what was 1 before", json_schema_extra=as_before(1.0))
    clip: str | None = Field(default=None, description="none before", json_schema_extra=as_before(None))
    oven: Oven = Field(default=Oven(), description="wood before", json_schema_extra=as_before(Oven().identity()))
    phases: tuple[Phase, ...] = Field(
        default=(Phase(), Phase(minutes=1)), strict=False, description="two", json_schema_extra=as_before(PHASES)
    )
    sides: tuple[int, ...] = Field(default=(), strict=False, description="none", json_schema_extra=as_before([]))


def _print(config: Section) -> str:
    return fingerprint("bake", 1, config.identity(), {})


def test_a_field_that_came_later_is_no_identity_at_its_value_of_before() -> None:
    assert After(guidance=1.0).identity() == Before().identity() == {"steps": 3}
    assert _print(After(guidance=1.0, steps=5)) == _print(Before(steps=5)) != _print(Before())


@pytest.mark.parametrize(
    ("change", "entered"),
    [
        ({"guidance": 2.0}, {"guidance": 2.0}),
        ({"clip": "mini"}, {"clip": "mini"}),
        ({"oven": Oven(degrees=100)}, {"oven": {"kind": "wood", "degrees": 100, "steam": 0.1}}),
        ({"phases": (Phase(minutes=1), Phase())}, {"phases": PHASES[::-1]}),
        ({"phases": (Phase(),)}, {"phases": PHASES[:1]}),
        ({"sides": (4,)}, {"sides": [4]}),
    ],
)
def test_a_field_that_came_later_enters_with_any_other_value(
    change: dict[str, Any], entered: dict[str, JsonValue]
) -> None:
    found = After(**{"guidance": 1.0, **change})
    assert found.identity() == {"steps": 3, **entered}
    assert _print(found) != _print(Before())


def test_the_default_of_a_field_that_came_later_may_be_another_than_before() -> None:
    assert After().identity() == {"steps": 3, "guidance": 2.0}


def test_what_stands_aside_within_a_field_that_came_later_changes_nothing() -> None:
    assert After(guidance=1.0, oven=Oven(brand="mine")).identity() == {"steps": 3}


class Kitchen(Section):
    """Sections that hold a field of a later time."""

    one: After = Field(default=After(guidance=1.0), description="one")
    many: tuple[After, ...] = Field(default=(), strict=False, description="many")


def test_a_field_that_came_later_is_left_out_within_sections_and_lists_of_them() -> None:
    kitchen = Kitchen(many=(After(guidance=1.0), After(guidance=3.0)))
    assert kitchen.identity() == {"one": {"steps": 3}, "many": [{"steps": 3}, {"steps": 3, "guidance": 3.0}]}


def test_where_many_files_lie_is_no_identity_either() -> None:
    class Listed(Section):
        """A section that names files."""

        path: str = Field(default="a", description="files", json_schema_extra=FILES)
        count: int = Field(default=1, description="number")

    assert Listed(path="s3://bucket/*.parquet").identity() == Listed().identity() == {"count": 1}
