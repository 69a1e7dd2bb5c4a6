"""From shards to numbers: the same however the pictures are cut into shards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.judges.frechet import Moments, frechet_distance
from tasks.evaluate.metrics import METRICS
from tasks.evaluate.reductions import Reduced, moments_of, numbers

COUNT = 12


def statistics() -> dict[str, Tensor]:
    """What is kept of twelve pictures: features, scores, hits, distances."""
    rng = torch.Generator().manual_seed(0)
    return {
        "features": torch.randn(COUNT, 3, generator=rng),
        "clip_scores": torch.rand(COUNT, generator=rng, dtype=torch.float64),
        "hits": torch.stack([torch.arange(COUNT) % 3, torch.full((COUNT,), 4)], dim=1),
        "distances": torch.rand(COUNT, generator=rng),
    }


def moments(features: Tensor) -> Moments:
    found = Moments()
    found.update(features)
    return found


def cut(size: int, *names: str) -> list[dict[str, Tensor]]:
    """The statistics of these names in shards of that size."""
    found = statistics()
    return [
        {**moments(found["features"][start : start + size]).to_tensors()}
        | {name: found[name][start : start + size] for name in names}
        for start in range(0, COUNT, size)
    ]


def reference() -> dict[str, Moments]:
    rng = torch.Generator().manual_seed(1)
    return {name: moments(1 + torch.randn(COUNT, 3, generator=rng)) for name in ("reference", "coco")}


ALL = ("clip_scores", "hits", "distances")


@pytest.mark.parametrize("size", [1, 5, COUNT])
def test_numbers_do_not_depend_on_the_shards(size: int) -> None:
    references, kept = reference(), statistics()
    found = numbers(Reduced(cut(size, *ALL), references, {"straightness": 0.25, "seconds_per_image": 2}))
    assert [*found] == [metric.key for metric in METRICS]
    assert found.pop("images_per_second") is None
    whole = moments(kept["features"])
    assert found == pytest.approx(
        {
            "frechet_distance": frechet_distance(whole, references["reference"]),
            "frechet_distance_coco": frechet_distance(whole, references["coco"]),
            "clip_score": float(kept["clip_scores"].mean()),
            "attribute_accuracy": 12 / 48,
            "straightness": 0.25,
            "distance_to_own_teacher": float(kept["distances"].mean()),
            "seconds_per_image": 2.0,
        },
        rel=1e-6,
    )


def test_what_was_not_kept_does_not_apply() -> None:
    found = numbers(Reduced(cut(4, "clip_scores"), reference(), {}))
    absent = {name for name, value in found.items() if value is None}
    assert absent == {
        "attribute_accuracy", "straightness", "distance_to_own_teacher", "seconds_per_image", "images_per_second",
    }  # fmt: skip


def test_captions_that_tell_no_attribute_have_no_accuracy() -> None:
    shards = [shard | {"hits": torch.zeros_like(shard["hits"])} for shard in cut(4, *ALL)]
    assert numbers(Reduced(shards, reference(), {}))["attribute_accuracy"] is None


def test_pictures_are_at_no_distance_from_themselves() -> None:
    shards = cut(4, *ALL)
    references = {"reference": moments_of(shards), "coco": moments_of(cut(3))}
    found = numbers(Reduced(shards, references, {}))
    assert found["frechet_distance"] == pytest.approx(0, abs=1e-9)
    assert found["frechet_distance_coco"] == pytest.approx(0, abs=1e-9)
    assert moments_of(shards).count == COUNT
