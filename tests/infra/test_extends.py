"""A variation is three lines, and a mistake is named with the file it is in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.recipes import recipe_path
from infra.errors import UserError
from infra.recipe import Recipe, load_recipe

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


BASE = """
name: base
world: {val_images: 7}
pairs: {steps: 3, guidance: 2.0}
evaluate: {steps: [1, 2, 4], clip: {prompt_prefix: "a "}}
"""


def test_sections_merge_and_lists_replace(write: Write) -> None:
    write("base.yaml", BASE)
    text = "name: x\nextends: base.yaml\npairs: {steps: 9}\nevaluate: {steps: [1], clip: {prompt_prefix: b}}\n"
    recipe = load_recipe(write("x.yaml", text))
    assert (recipe.name, recipe.pairs.steps, recipe.pairs.guidance) == ("x", 9, 2.0)
    assert recipe.evaluate.steps == (1,) and recipe.evaluate.clip.prompt_prefix == "b"
    assert recipe.world is not None and recipe.world.val_images == 7


def test_null_switches_a_section_off_and_a_section_on_again(write: Write) -> None:
    write("base.yaml", "name: base\nworld: null\ncoco: {path: /data}\ntrain_clip: {steps: 5}")
    recipe = load_recipe(write("x.yaml", "name: x\nextends: base.yaml\nworld: {val_images: 3}\ntrain_clip: null"))
    assert recipe.world is not None and recipe.world.val_images == 3 and recipe.train_clip is None


def test_paths_start_at_the_file_and_names_are_bundled_recipes(write: Write) -> None:
    write("shared/base.yaml", "name: base\nextends: tiny\npairs: {steps: 3}")
    recipe = load_recipe(write("mine/x.yaml", "name: x\nextends: ../shared/base.yaml"), (), recipe_path)
    tiny = load_recipe(recipe_path("tiny"))
    assert recipe.pairs == tiny.pairs.model_copy(update={"steps": 3})
    assert recipe.distill == tiny.distill
    assert load_recipe(write("y.yaml", "name: y\nextends: tiny"), ["seed=3"], recipe_path).seed == 3


def test_the_name_is_not_inherited(write: Write) -> None:
    write("base.yaml", BASE)
    with pytest.raises(UserError, match=r"x\.yaml: name: missing"):
        load_recipe(write("x.yaml", "extends: base.yaml"))


def test_a_mistake_names_the_file_it_is_in(write: Write) -> None:
    base = write("base.yaml", "name: base\npairs: {stpes: 3}\nreflow: {steps: 0}\ndistill: {phases: [{steps: 0}]}")
    path = write("x.yaml", "name: x\nextends: base.yaml\npairs: {guidance: -1}\nreportt: {}\nreflow: {steps: -1}")
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    assert {line.split(": ")[1]: line.split(": ")[0] for line in str(caught.value).splitlines()} == {
        "pairs.stpes": str(base),
        "distill.phases.0.steps": str(base),
        "pairs.guidance": str(path),
        "reflow.steps": str(path),
        "reportt": str(path),
    }


def test_a_mistake_of_a_whole_section_is_the_last_ones_who_touched_it(write: Write) -> None:
    write("base.yaml", "name: base\nprompts: {source: text, path: a.txt}")
    path = write("x.yaml", "name: x\nextends: base.yaml\nprompts: {path: null}")
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(f'{path}: prompts: source "text" needs `path`')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("extends: x.yaml", "extends: found 'x.yaml', which leads in a circle"),
        ("extends: ./a/../y.yaml", "leads in a circle"),
        ("extends: absent.yaml", "extends: found 'absent.yaml', but there is no"),
        ("extends: tinny", "extends: recipe tinny: there is no such recipe"),
        ("extends: [tiny]", "extends: found ['tiny'], expected the path or the name"),
        ("extends:", "extends: found None, expected"),
        ("extend: tiny", "extend: unknown key. Did you mean extends?"),
    ],
)
def test_a_base_that_is_none(write: Write, text: str, expected: str) -> None:
    (write("a/none", "")).unlink()
    write("y.yaml", "name: y\nextends: x.yaml")
    path = write("x.yaml", f"name: x\n{text}\n")
    with pytest.raises(UserError) as caught:
        load_recipe(path, (), recipe_path)
    assert expected in str(caught.value)


def test_broken_yaml_in_a_base_names_the_base(write: Write) -> None:
    base = write("base.yaml", "pairs: [")
    with pytest.raises(UserError) as caught:
        load_recipe(write("x.yaml", "name: x\nextends: base.yaml"))
    assert str(caught.value).startswith(str(base))


def test_without_a_base_nothing_changes(write: Write) -> None:
    assert load_recipe(write("x.yaml", "name: x")) == Recipe(name="x")
