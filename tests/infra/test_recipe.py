"""A recipe's mistakes are told in the user's words: file, field, value, what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from infra.errors import UserError
from infra.recipe import Recipe, Section, apply_overrides, load_recipe


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_a_recipe_is_its_name_and_defaults(tmp_path: Path) -> None:
    assert load_recipe(written(tmp_path, "name: x")) == Recipe(name="x")


def test_it_survives_a_round_trip(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, "name: x\nevaluate: {steps: [1, 2]}\ndistill: {phases: [{steps: 3}]}"))
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
        ("pairs: {solver: heun}", "pairs.solver: found 'heun', expected 'dpmsolver++', 'ddim' or 'euler'"),
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
        load_recipe(written(tmp_path, "pairs: {stpes: 3}\nreflow: {steps: 0}"))
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "name",
        "pairs.stpes",
        "reflow.steps",
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
    assert load_recipe(written(tmp_path, f"name: x\nreflow: {{learning_rate: {text}}}")).reflow.learning_rate == 1e-4


def test_overrides(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\npairs: {steps: 3}")
    recipe = load_recipe(
        path,
        [
            "pairs.steps=4",
            "pairs.guidance=1e1",
            "evaluate.steps=[1, 3]",
            "train_teacher.steps=5",
            "direct.enabled=false",
        ],
    )
    assert (recipe.pairs.steps, recipe.pairs.guidance, recipe.evaluate.steps) == (4, 10.0, (1, 3))
    assert recipe.train_teacher is not None and recipe.train_teacher.steps == 5
    assert not recipe.direct.enabled and recipe.student_pairs.solver == "euler"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("pairs.stpes=3", "--set pairs.stpes=3: pairs.stpes: unknown key. Did you mean pairs.steps?"),
        ("pairs.steps=no", "--set pairs.steps=no: pairs.steps: found False, expected a valid integer"),
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
        apply_overrides(Recipe(name="x"), ["reflow.steps=5", override])
    assert expected in str(caught.value)


def test_one_seed_moves_all_but_the_world() -> None:
    recipe = Recipe(name="x", seed=7)
    moved = recipe.seeded()
    assert moved.pairs.seed == recipe.pairs.seed + 7 and moved.direct.seed == recipe.direct.seed + 7
    assert moved.world == recipe.world and moved.seeded() == moved
    assert Recipe(name="x").seeded() == Recipe(name="x")


def fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {f"{model.__name__}.{name}": field for name, field in model.model_fields.items()}


@pytest.mark.parametrize("model", [Section, *Section.__subclasses__()])
def test_every_field_is_documented(model: type[Section]) -> None:
    assert model.__doc__ and model.model_config["frozen"]
    assert [name for name, field in fields(model).items() if not field.description] == []
