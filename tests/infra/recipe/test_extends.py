"""A variation is three lines, and a mistake is named with the file it is in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.errors import UserError
from infra.recipe import Layers, read_layers, validated
from tests.infra.recipe.small_recipe import Bread, Oven

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def named(write: Write) -> Callable[[str], Path]:
    """The file of the one bundled recipe, `plain`."""
    path = write("bundled/plain.yaml", "name: plain\noven: {degrees: 150}")

    def find(name: str) -> Path:
        if name != "plain":
            raise UserError(f"recipe {name}: there is no such recipe.")
        return path

    return find


def load(path: Path) -> Bread:
    layers = read_layers(path)
    return validated(Bread, layers.data, layers.where)


def test_sections_merge_and_lists_replace(write: Write) -> None:
    write("base.yaml", "name: base\noven: {kind: gas, degrees: 150}\nloaves: [1, 2, 4]\nphases: [{minutes: 3}]")
    found = load(write("x.yaml", "name: x\nextends: base.yaml\noven: {degrees: 99}\nloaves: [9]"))
    assert (found.name, found.oven, found.loaves) == ("x", Oven(kind="gas", degrees=99), (9,))
    assert [phase.minutes for phase in found.phases] == [3]


def test_null_switches_a_section_off_and_a_section_on_again(write: Write) -> None:
    write("base.yaml", "name: base\nglaze: {minutes: 5, heat: 2.0}")
    write("none.yaml", "name: none\nextends: base.yaml\nglaze: null")
    on = load(write("again.yaml", "name: again\nextends: none.yaml\nglaze: {minutes: 3}")).glaze
    assert load(write("x.yaml", "name: x\nextends: none.yaml")).glaze is None
    assert on is not None and (on.minutes, on.heat) == (3, 1e-4), "what was switched off is forgotten"


def test_paths_start_at_the_file_and_names_are_looked_up(write: Write, named: Callable[[str], Path]) -> None:
    write("shared/base.yaml", "name: base\nextends: plain\nloaves: [7]")
    found = read_layers(write("mine/x.yaml", "name: x\nextends: ../shared/base.yaml"), named).data
    assert found == {"name": "x", "loaves": [7], "oven": {"degrees": 150}}
    write("mine/plain", "name: a file of that name")
    assert read_layers(write("mine/x.yaml", "name: x\nextends: plain"), named).data["oven"] == {"degrees": 150}
    assert "oven" not in read_layers(write("mine/x.yaml", "name: x\nextends: ./plain"), named).data


def test_the_name_is_not_inherited(write: Write) -> None:
    write("base.yaml", "name: base")
    with pytest.raises(UserError, match=r"x\.yaml: name: missing"):
        load(write("x.yaml", "extends: base.yaml"))


def test_a_mistake_names_the_file_it_is_in(write: Write) -> None:
    base = write("base.yaml", "name: base\noven: {degres: 3, kind: coal}\nphases: [{minutes: 0}]")
    path = write("x.yaml", "name: x\nextends: base.yaml\noven: {steam: 2.0, kind: oil}\nglazze: {}")
    with pytest.raises(UserError) as caught:
        load(path)
    assert {line.split(": ")[1]: line.split(": ")[0] for line in str(caught.value).splitlines()} == {
        "oven.degres": str(base),
        "phases.0.minutes": str(base),
        "oven.kind": str(path),
        "oven.steam": str(path),
        "glazze": str(path),
    }


def test_a_mistake_of_the_whole_is_the_last_files(write: Write) -> None:
    write("base.yaml", "name: base\nglaze: {minutes: 1}")
    path = write("x.yaml", "name: x\nextends: base.yaml\noven: {kind: gas}")
    with pytest.raises(UserError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: recipe: a glaze needs `oven.kind` wood."


def test_a_field_is_from_the_last_file_that_set_it_or_what_is_around_it() -> None:
    layers = Layers()
    layers.add({"name": "a", "oven": {"kind": "gas", "degrees": 1}, "loaves": [1]}, "a")
    layers.add({"name": "b", "oven": {"kind": "wood"}, "loaves": [1, 2]}, "b")
    assert {name: layers.where(name) for name in (("oven", "kind"), ("oven", "degrees"), ("oven", "steam"))} == {
        ("oven", "kind"): "b",
        ("oven", "degrees"): "a",
        ("oven", "steam"): "b",
    }
    assert layers.where(("loaves", "1")) == layers.where(()) == layers.where(("nowhere",)) == "b"
    layers.add({"oven": None}, "c")
    assert layers.where(("oven", "degrees")) == "c" and "name" not in layers.data


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("extends: x.yaml", "extends: found 'x.yaml', which leads in a circle"),
        ("extends: ./a/../y.yaml", "leads in a circle"),
        ("extends: absent.yaml", "extends: found 'absent.yaml', but there is no"),
        ("extends: plian", "extends: recipe plian: there is no such recipe"),
        ("extends: [plain]", "extends: found ['plain'], expected the path or the name"),
        ("extends: ''", "extends: found '', expected the path or the name"),
        ("extends:", "extends: found None, expected"),
    ],
)
def test_a_base_that_is_none(write: Write, named: Callable[[str], Path], text: str, expected: str) -> None:
    write("a/other.yaml", "")  # a folder to go through
    write("y.yaml", "name: y\nextends: x.yaml")
    path = write("x.yaml", f"name: x\n{text}\n")
    with pytest.raises(UserError) as caught:
        read_layers(path, named)
    assert expected in str(caught.value) and path.name in str(caught.value)


def test_broken_yaml_in_a_base_names_the_base(write: Write) -> None:
    base = write("base.yaml", "oven: [")
    with pytest.raises(UserError) as caught:
        load(write("x.yaml", "name: x\nextends: base.yaml"))
    assert str(caught.value).startswith(str(base))


def test_without_a_base_nothing_changes(write: Write) -> None:
    assert load(write("x.yaml", "name: x")) == Bread(name="x")
