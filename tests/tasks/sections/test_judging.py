"""What pictures are judged with: what it shapes, what it needs, what has no effect."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from flows.recipes import parse_recipe
from infra.errors import UserError
from models.judges import precision_recall
from tasks.sections import NEIGHBOURS, Coco, Evaluate, Pictures, RealJob


def test_real_pictures_are_told_of_judges_and_of_no_models() -> None:
    told = Evaluate(
        extras=("kid", "dinov2"), dinov2_weights="dinov2", steps=(3,), seed=5, pictures=Pictures(size=64), num_images=7
    )  # fmt: skip
    job = RealJob.of(told, Coco(path="/data"))
    assert job.identity() == {
        **RealJob().identity(), "num_images": 7, "pictures": told.pictures.identity(), "extras": ["dinov2"],
    }  # fmt: skip
    assert job.dinov2_weights == "dinov2" and job.coco.path is None
    assert RealJob.of(Evaluate(extras=("kid",)), Coco()).identity() == RealJob().identity()
    assert not {"real", "extras", "cmmd_clip"} & Evaluate().identity().keys(), "they came later"


def test_the_neighbours_are_those_of_the_judges() -> None:
    assert NEIGHBOURS == precision_recall.NEIGHBOURS


@pytest.mark.parametrize(
    ("evaluate", "said"),
    [
        ({"pictures": {"filter": "lanczos", "antialias": False}}, "take bicubic or bilinear"),
        ({"inception_resize": "clean"}, 'inception_resize "clean" has no effect on features "mini"'),
        ({"clip": {"tag": "openai"}}, 'tag "openai" beside architecture "mini"'),
        ({"dinov2_weights": "dinov2"}, 'extras "dinov2" and `dinov2_weights`, its network, need each other'),
        ({"extras": ["dinov2"]}, 'extras "dinov2" and `dinov2_weights`, its network, need each other'),
        ({"extras": ["cmmd"]}, 'extras "cmmd" and `cmmd_clip`, its network, need each other'),
        ({"extras": ["cmmd"], "cmmd_clip": {"architecture": "ViT-B-32"}}, "needs `cmmd_clip.weights`, a file"),
        ({"extras": ["cmmd"], "cmmd_clip": {"prompt_prefix": "a "}}, "CMMD looks at pictures alone"),
        ({"extras": ["kid", "kid"]}, "extras: kid, kid: expected each once"),
        ({"extras": ["precision_recall"], "num_images": 3}, "expected num_images above 3, found 3"),
    ],
)
def test_a_setting_without_an_effect_is_refused(evaluate: dict[str, JsonValue], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_recipe({"name": "x", "evaluate": evaluate}, "test")


def test_how_pictures_are_judged_shapes_the_numbers_where_it_is_not_as_before() -> None:
    usual = Evaluate().identity()
    assert not {"pictures", "inception_resize"} & usual.keys() and "tag" not in str(usual)
    small = parse_recipe({"name": "x", "evaluate": {"pictures": {"size": 256}}}, "test").evaluate
    assert small.identity() == {**usual, "pictures": {"size": 256, "filter": "lanczos", "antialias": True}}
