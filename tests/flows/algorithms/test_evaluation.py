"""One model or a folder of pictures: measured, shown, nothing trained."""

from __future__ import annotations

import pytest

from flows.algorithms.chain import Chain, Given
from flows.recipes import bundled, chain_of, load_recipe, parse_recipe
from infra.errors import UserError
from tasks.evaluate.cells import cells
from tasks.sections import EvaluateJob

INCEPTION = {
    "features": "inception",
    "inception_weights": "i.pth",
    "clip": {"architecture": "ViT-g-14", "weights": "c"},
}
JUDGE = Given("clip", "mini-judge")
PRESETS = [name for name in bundled() if load_recipe(name).algorithm == "evaluation"]


def chain(**sections: object) -> Chain:
    return chain_of(parse_recipe({"name": "test", "algorithm": "evaluation", **sections}, "here"))


def inputs(chain: Chain) -> dict[str, dict[str, object]]:
    return {node.id: dict(node.inputs) for node in chain.nodes.values()}


def test_a_model_of_the_miniature_world() -> None:
    assert inputs(chain(world={}, model={"path": "there"})) == {
        "world": {},
        "real": {"coco": "world", "judge": JUDGE, "teacher": Given("model", "there")},
        "evaluate": {"coco": "world", "real": "real", "judge": JUDGE, "model": Given("model", "there")},
        "report": {"evaluate": "evaluate", "model": Given("model", "there")},
    }


def test_a_model_beside_a_data_set_with_judges_of_its_own() -> None:
    found = inputs(chain(coco={"path": "coco"}, evaluate=INCEPTION))
    assert found["evaluate"] == {"coco": Given("coco", "coco"), "real": "real", "model": Given("model", "mini")}
    assert found["real"] == {"coco": Given("coco", "coco"), "teacher": Given("model", "mini")}


def test_weights_of_the_papers_convention_are_turned_first() -> None:
    found = inputs(chain(world={}, model={"path": "two-rf", "convention": "paper"}))
    assert found["adopt"] == {"teacher": Given("model", "two-rf")} and found["evaluate"]["model"] == "adopt"


def test_pictures_take_the_place_of_the_model() -> None:
    told = chain(world={}, pictures="drawn", evaluate={"pictures": {"size": 32}, "reference": "none"})
    assert inputs(told)["evaluate"] == {
        "coco": "world", "real": "real", "judge": JUDGE, "pictures": Given("pictures", "drawn"),
    }  # fmt: skip
    assert inputs(told)["real"] == {"coco": "world", "judge": JUDGE}
    config = told.nodes["evaluate"].config
    assert isinstance(config, EvaluateJob) and [cell.name for cell in cells(config, ["pictures"])] == ["pictures"]


def test_it_is_known_by_its_role() -> None:
    assert chain(world={}).model("model") == Given("model", "mini") and chain(world={}).model("teacher") is None


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({}, "expected one of `world` and `coco.path`"),
        ({"world": {}, "coco": {"path": "coco"}}, "expected one of `world` and `coco.path`"),
        ({"world": {}, "pictures": "p", "model": {"path": "m"}}, r"`model` has no effect beside `pictures` \(p\)"),
        ({"world": {}, "pictures": "p"}, "`pictures` need `evaluate.pictures.size`"),
        ({"world": {}, "pictures": "p", "evaluate": {"pictures": {"size": 32}}}, '`evaluate.reference` "none"'),
        ({"world": {}, "distill": {}}, "distill: unknown key"),
    ],
)
def test_what_has_no_effect_or_cannot_be_is_refused(sections: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        chain(**sections)


def test_there_are_presets_for_the_usual_protocols() -> None:
    assert PRESETS == ["coco2014-30k", "coco2017-5k", "mini-1k"]
    told = {name: load_recipe(name).model_dump()["evaluate"] for name in PRESETS}
    assert [(one["num_images"], one["pictures"]["size"]) for one in told.values()] == [
        (30_000, 256), (5000, 512), (1000, 32),
    ]  # fmt: skip
    assert {one["reference"] for one in told.values()} == {"none"}, "pictures without a model fit them, too"
    assert told["coco2014-30k"]["clip"] == told["coco2017-5k"]["clip"]
    assert load_recipe("coco2014-30k").model_dump()["coco"]["images"] == "val2014"
    assert [one["real"] for one in told.values()] == ["split", "captions", "captions"]
