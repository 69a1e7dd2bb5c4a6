"""Where a stage is done: by its id, its name, the default; mistakes are told before anything is begun."""

from __future__ import annotations

import pytest

from flows.recipes import chain_of, load_recipe
from flows.run.placing import place_of
from flows.run.preflight import preflight
from infra.errors import UserError
from tasks.sections import Place

GPUS = ["placement.pairs={pool: gpu, workers: 8}", "placement.pairs-student.pool=small", "placement.reflow.gpus=4"]


def test_an_id_goes_before_a_name_and_both_before_the_default() -> None:
    recipe = load_recipe("tiny", [*GPUS, "placement.default.pool=cpu"])
    assert place_of(recipe, "pairs-1") == Place(pool="gpu", workers=8)
    assert place_of(recipe, "pairs-student") == Place(pool="small")
    assert place_of(recipe, "reflow-1") == Place(gpus=4), "without a pool it is done where the pipeline runs"
    assert place_of(recipe, "report") == Place(pool="cpu")
    assert place_of(load_recipe("tiny", GPUS), "report") == Place()


@pytest.mark.parametrize(
    "override, told",
    [
        ("placement.pairs.gpus=4", r"placement\.pairs\.gpus: found 4, expected 1: only reflow, "),
        ("placement.reflw.pool=gpu", r"placement\.reflw: no stage of tiny\. Did you mean reflow\?"),
        ("placement.pairs-9.pool=gpu", r"placement\.pairs-9: no stage of tiny\. Did you mean pairs"),
        (
            "placement.pairs.workers=2",
            r"placement\.pairs\.workers: 2 workers need a pool: set",
        ),
    ],
)
def test_what_has_no_effect_is_refused(override: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        preflight(chain_of(load_recipe("tiny", [override])))


def test_a_misspelt_field_of_a_place_is_named() -> None:
    with pytest.raises(UserError, match=r"placement\.pairs\.pol: unknown key\. Did you mean placement\.pairs\.pool\?"):
        load_recipe("tiny", ["placement.pairs.pol=gpu"])
