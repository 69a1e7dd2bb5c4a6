"""A recipe's file: what it says and extends, and its mistakes in the user's words: file, field, value, expectation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.algorithms.instaflow import Recipe
from flows.recipes import bundled, chain_of, load_recipe, parse_recipe, recipe_path
from infra.errors import UserError
from infra.recipe import apply_overrides
from tests import ROOT

Write = Callable[[str, str], Path]
BASE = """
name: base
world: {val_images: 7}
pairs: {steps: 3, guidance: 2.0}
evaluate: {steps: [1, 2, 4], clip: {prompt_prefix: "a "}}
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_a_recipe_is_its_name_and_defaults(tmp_path: Path) -> None:
    assert load_recipe(written(tmp_path, "name: x")) == Recipe(name="x")


def test_it_survives_a_round_trip(tmp_path: Path) -> None:
    recipe = load_recipe(
        written(tmp_path, "name: x\nevaluate: {steps: [1, 2]}\ndistill: {phases: [{steps: 3}], warmup_steps: 0}")
    )
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert recipe.evaluate.steps == (1, 2) and recipe.distill.phases[0].steps == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pairs: {stpes: 3}", "pairs.stpes: unknown key. Did you mean pairs.steps?"),
        ("reflwo: {}", "reflwo: unknown key. Did you mean reflow?"),
        ("distill: {phases: [{learning_rat: 1}]}", "Did you mean distill.phases.0.learning_rate?"),
        ("train_teacher: {ema: 1}", "Did you mean train_teacher.ema_decay?"),
        ("evaluate: {clip: {weight: a}}", "Did you mean evaluate.clip.weights?"),
        ("report: {zzzzzz: 1}", "report.zzzzzz: unknown key. Valid keys here: columns, trajectories."),
        ("pairs: {steps: '25'}", "pairs.steps: found '25', expected a valid integer"),
        ("pairs: {steps: 2.5}", "pairs.steps: found 2.5, expected a valid integer"),
        ("pairs: {steps: true}", "pairs.steps: found True, expected a valid integer"),
        ("pairs: {steps: 0}", "pairs.steps: found 0, expected greater than or equal to 1"),
        ("pairs: {guidance: .nan}", "pairs.guidance: found nan, expected a finite number"),
        ("pairs: {solver: rk4}", "pairs.solver: found 'rk4', expected 'dpmsolver++', 'dpmsolver++1'"),
        ("pairs: 3", "pairs: found 3, expected a valid dictionary"),
        ("reflow: {ema_decay: 1.0}", "reflow.ema_decay: found 1.0, expected less than 1"),
        ("evaluate: {steps: [1, 0]}", "evaluate.steps.1: found 0, expected greater than or equal to 1"),
        ("evaluate: {steps: []}", "evaluate.steps: found []"),
        ("prompts: {source: text}", 'prompts: source "text" needs `path`'),
        ("evaluate: {features: inception}", 'evaluate: features "inception" needs `inception_weights`'),
        ("world: null", "without `world` the evaluation needs `coco.path`"),
        ("name: y", "line 2, column 1: no valid YAML: the key 'name' is given twice"),
        ("pairs: [", "line 3, column 1: no valid YAML"),
        ("pairs: \t{", "no valid YAML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, expected: str) -> None:
    path = written(tmp_path, f"name: x\n{text}\n")
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    assert expected in str(caught.value)
    assert all(line.startswith(str(path)) for line in str(caught.value).splitlines())


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(written(tmp_path, "pairs: {stpes: 3}\nreflow: {warmup_steps: -1}"))
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "name",
        "pairs.stpes",
        "reflow.warmup_steps",
    ]


def test_a_bad_item_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(written(tmp_path, "name: x\ndistill: {phases: [{steps: 0}]}"))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["", "3", "- a", "1: 2"])
def test_no_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match="expected a mapping of recipe sections"):
        load_recipe(written(tmp_path, text))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.yaml: no such recipe file"):
        load_recipe(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match="cannot read the recipe"):
        load_recipe(tmp_path)


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: é".encode("latin-1"))
    with pytest.raises(UserError, match="latin.yaml: byte 6 is not UTF-8"):
        load_recipe(path)


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001", "1E-4"])
def test_a_number_is_a_number_however_written(tmp_path: Path, text: str) -> None:
    # plain YAML 1.1 reads 1e-4 as text
    assert load_recipe(written(tmp_path, f"name: x\npairs: {{max_abs_latent: {text}}}")).pairs.max_abs_latent == 1e-4


def test_overrides(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\npairs: {steps: 3}")
    recipe = load_recipe(
        path,
        [
            "pairs.steps=4",
            "pairs.guidance=1e1",
            "evaluate.steps=[1, 3]",
            "train_teacher.steps=505",
            "direct.enabled=false",
        ],
    )
    assert (recipe.pairs.steps, recipe.pairs.guidance, recipe.evaluate.steps) == (4, 10.0, (1, 3))
    assert recipe.train_teacher is not None and recipe.train_teacher.steps == 505
    assert not recipe.direct.enabled and recipe.student_pairs.solver == "euler"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("pairs.stpes=3", "--set pairs.stpes=3: pairs.stpes: unknown key. Did you mean pairs.steps?"),
        ("pairs.steps=no", "--set pairs.steps=no: pairs.steps: found 'no', expected a valid integer"),
        (
            "direct.enabled=no",
            "--set direct.enabled=no: direct.enabled: found 'no', expected true or false. (enabled: whether",
        ),
        ("pairs.steps", "--set pairs.steps: expected key=value"),
        ("=3", "--set =3: expected key=value"),
        ("name.x=1", "name is 'x' and has no fields"),
        ("distill.phases.0.steps=1", "distill.phases is a list: set it whole"),
        ("pairs.steps=[", "--set pairs.steps=[: line 1, column 2: no valid YAML"),
        ("world=null", "--set world=null: recipe: without `world`"),
    ],
)
def test_a_bad_override_is_named(override: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        apply_overrides(Recipe(name="x"), ["reflow.text_dropout=0.5", override])
    assert expected in str(caught.value)


def test_sections_merge_and_lists_replace(write: Write) -> None:
    write("base.yaml", BASE)
    text = "name: x\nextends: base.yaml\npairs: {steps: 9}\nevaluate: {steps: [1], clip: {prompt_prefix: b}}\n"
    recipe = load_recipe(write("x.yaml", text))
    assert (recipe.name, recipe.pairs.steps, recipe.pairs.guidance) == ("x", 9, 2.0)
    assert recipe.evaluate.steps == (1,) and recipe.evaluate.clip.prompt_prefix == "b"
    assert recipe.world is not None and recipe.world.val_images == 7


def test_null_switches_a_section_off_and_a_section_on_again(write: Write) -> None:
    write("base.yaml", "name: base\nworld: null\ncoco: {path: /data}\ntrain_clip: {steps: 5}")
    recipe = load_recipe(
        write("x.yaml", "name: x\nextends: base.yaml\nworld: {val_images: 3}\ncoco: {path: null}\ntrain_clip: null")
    )
    assert recipe.world is not None and recipe.world.val_images == 3 and recipe.train_clip is None


def test_paths_start_at_the_file_and_names_are_bundled_recipes(write: Write) -> None:
    write("shared/base.yaml", "name: base\nextends: tiny\npairs: {steps: 3}")
    recipe = load_recipe(write("mine/x.yaml", "name: x\nextends: ../shared/base.yaml"))
    tiny = load_recipe(recipe_path("tiny"))
    assert recipe.pairs == tiny.pairs.model_copy(update={"steps": 3})
    assert recipe.distill == tiny.distill
    assert load_recipe(write("y.yaml", "name: y\nextends: tiny"), ["seed=3"]).seed == 3


def test_the_name_is_not_inherited(write: Write) -> None:
    write("base.yaml", BASE)
    with pytest.raises(UserError, match=r"x\.yaml: name: missing"):
        load_recipe(write("x.yaml", "extends: base.yaml"))


def test_a_mistake_names_the_file_it_is_in(write: Write) -> None:
    base = write(
        "base.yaml", "name: base\npairs: {stpes: 3}\nreflow: {warmup_steps: -2}\ndistill: {phases: [{steps: 0}]}"
    )
    path = write(
        "x.yaml", "name: x\nextends: base.yaml\npairs: {guidance: -1}\nreportt: {}\nreflow: {warmup_steps: -1}"
    )
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    assert {line.split(": ")[1]: line.split(": ")[0] for line in str(caught.value).splitlines()} == {
        "pairs.stpes": str(base),
        "distill.phases.0.steps": str(base),
        "pairs.guidance": str(path),
        "reflow.warmup_steps": str(path),
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
        load_recipe(path)
    assert expected in str(caught.value)


def test_broken_yaml_in_a_base_names_the_base(write: Write) -> None:
    base = write("base.yaml", "pairs: [")
    with pytest.raises(UserError) as caught:
        load_recipe(write("x.yaml", "name: x\nextends: base.yaml"))
    assert str(caught.value).startswith(str(base))


def test_bundled_recipes_are_the_files_beside_the_code() -> None:
    files = sorted((ROOT / "flows" / "recipes").glob("*.yaml"), key=lambda file: file.stem)
    assert bundled() == [file.stem for file in files] and {"mini", "sd15-instaflow-0.9b", "tiny"} <= {*bundled()}
    for file in files:
        assert recipe_path(file.stem) == file and load_recipe(file.stem).name == file.stem


def test_a_name_that_is_none_is_told_the_nearest() -> None:
    with pytest.raises(UserError, match=r"recipe tinny: there is no such recipe\..* mini, .*\. Did you mean tiny\?"):
        recipe_path("tinny")
    assert recipe_path("./tinny") == Path("./tinny") and recipe_path("tinny.yml") == Path("tinny.yml")


def test_plain_data_is_a_recipe_of_its_algorithm() -> None:
    assert parse_recipe({"name": "x"}, "here") == Recipe(name="x")
    with pytest.raises(UserError, match=r"^here: pairs\.steps: found 0"):
        parse_recipe({"name": "x", "pairs": {"steps": 0}}, "here")
    with pytest.raises(UserError, match=r"^here: algorithm: found 'instaflo', .*Did you mean instaflow\?"):
        parse_recipe({"name": "x", "algorithm": "instaflo"}, "here")


def test_the_algorithm_is_the_files_to_say() -> None:
    with pytest.raises(UserError, match=r"--set algorithm=miniature: the recipe's file says which"):
        load_recipe("tiny", ["algorithm=miniature"])


def test_a_recipes_chain_is_walked_once() -> None:
    chain = chain_of(load_recipe("tiny"))
    assert chain_of(load_recipe("tiny")) is chain is not chain_of(load_recipe("tiny", ["seed=1"]))
    assert [*chain.nodes][:2] == ["world", "prompts"] and [*chain.nodes][-1] == "report"
    assert [*chain_of(load_recipe("tiny"), "miniature").nodes] == ["world"]


def test_an_algorithm_that_is_none_names_the_file_that_says_so(write: Write) -> None:
    base = write("base.yaml", "name: base\nalgorithm: instaflw")
    for path in (base, write("x.yaml", "name: x\nextends: base.yaml\npairs: {steps: 3}")):
        with pytest.raises(UserError) as caught:
            load_recipe(path)
        assert str(caught.value) == (
            f"{base}: algorithm: found 'instaflw', expected one of evaluation, instaflow, miniature."
            " Did you mean instaflow?"
        )


def test_a_file_says_which_sections_there_are_by_its_algorithm(write: Write) -> None:
    small = write("small.yaml", "name: small\nalgorithm: miniature\nworld: {val_images: 7}")
    assert load_recipe(small).world.val_images == 7 and not hasattr(load_recipe(small), "pairs")
    with pytest.raises(UserError, match=r"small\.yaml: evaluate: unknown key\."):
        load_recipe(write("small.yaml", "name: small\nalgorithm: miniature\nevaluate: {}"))
    with pytest.raises(UserError, match=r"--set pairs\.steps=3: pairs: unknown key\."):
        load_recipe(write("small.yaml", "name: small\nalgorithm: miniature"), ["pairs.steps=3"])
