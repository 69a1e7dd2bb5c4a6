"""Each distance compares the two sets of pictures that its name says."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from tasks.evaluate.compared import Compared
from tasks.evaluate.real import Real
from tasks.sections import EvaluateJob

COUNT = 4
JOB = EvaluateJob(num_images=COUNT)
SETS: dict[str, Tensor] = {
    name: torch.randn(size, 2, generator=torch.Generator().manual_seed(seed))
    for seed, (name, size) in enumerate({"features": 12, "dinov2": 12, "ours": COUNT, "reference": COUNT}.items())
}


class _Looked:
    """Twelve real pictures by two networks, as a split has them."""

    def own(self, name: str) -> Tensor:
        return SETS[name]

    def others(self, name: str) -> Tensor:
        return SETS[name][COUNT : 2 * COUNT]

    def without_others(self, name: str) -> Tensor:
        return torch.cat([SETS[name][:COUNT], SETS[name][2 * COUNT :]])


REAL = cast(Real, _Looked())


def test_a_cell_is_compared_with_the_real_pictures_and_the_reference() -> None:
    compared = Compared(JOB, REAL, SETS["reference"]).of({"features": SETS["ours"]})
    assert {*compared} == {"coco", "reference"}
    for name, theirs in (("coco", "features"), ("reference", "reference")):
        assert [one.features.float().tolist() for one in compared[name]] == [
            SETS["ours"].tolist(), SETS[theirs].tolist(),
        ]  # fmt: skip
    assert {*Compared(JOB, REAL, None).of({"features": SETS["ours"]})} == {"coco"}


def test_further_distances_take_the_features_that_are_theirs() -> None:
    job = JOB.model_copy(update={"extras": ("kid", "dinov2")})
    columns = {"features": SETS["ours"], "dinov2": SETS["reference"]}
    compared = Compared(job, REAL, None).of(columns)
    assert {*compared} == {"coco", "kid", "dinov2"} and compared["kid"] == compared["coco"]
    assert [one.features.float().tolist() for one in compared["dinov2"]] == [
        SETS["reference"].tolist(), SETS["dinov2"].tolist(),
    ]  # fmt: skip


def test_a_floor_compares_disjoint_sets_of_one_kind() -> None:
    columns = {"features": SETS["ours"]}
    own = Compared(JOB, REAL, SETS["reference"])
    floor = own.floor(columns)
    assert floor["coco"][1] is own.real["features"], "what is measured of it once is measured once"
    assert floor["coco"][0].features.float().equal(REAL.others("features"))
    assert floor["reference"][0].features.float().equal(SETS["reference"])
    split = Compared(JOB.model_copy(update={"real": "split"}), REAL, SETS["reference"]).floor(columns)
    assert split["coco"][1].features.float().equal(REAL.without_others("features"))
    assert Compared(JOB, REAL, None).floor(columns) == {}
