"""From what is kept of the pictures to numbers, each with its interval."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from models.judges.cmmd import cmmd
from models.judges.frechet import frechet_distance
from models.judges.kid import kernel_distances
from models.judges.precision_recall import precision_recall
from tasks.evaluate.bootstrap import FEW_REPLICATES, REPLICATES, WIDE
from tasks.evaluate.metrics import METRICS
from tasks.evaluate.reductions import Pictures, Reduced, numbers

COUNT = 60


def statistics() -> dict[str, Tensor]:
    """What is kept of the pictures, by name."""
    rng = torch.Generator().manual_seed(0)
    return {
        "clip_scores": torch.rand(COUNT, generator=rng, dtype=torch.float64),
        "hits": torch.stack([torch.arange(COUNT) % 3, torch.full((COUNT,), 4)], dim=1),
        "own_distances": torch.rand(COUNT, generator=rng) ** 8,
        "straightness": torch.rand(8, generator=rng),
        "latency": torch.tensor([0.2, 0.1, 0.4, 0.1]),
    }


def pictures(count: int, seed: int, shift: float = 0.0) -> Pictures:
    rng = torch.Generator().manual_seed(seed)
    return Pictures(shift + torch.randn(count, 3, generator=rng))


def test_every_number_is_what_its_row_says() -> None:
    kept, ours, theirs = statistics(), pictures(COUNT, 1), pictures(COUNT + 7, 2, shift=1.0)
    found = numbers(Reduced(kept, {"reference": (ours, theirs), "coco": (ours, ours)}))
    assert [*found] == [key for metric in METRICS for key in (metric.key, metric.interval_key)]
    values = {metric.key: found[metric.key] for metric in METRICS if found[metric.key] is not None}
    assert values == pytest.approx(
        {
            "frechet_distance": frechet_distance(ours.features, theirs.features),
            "frechet_distance_coco": 0.0,
            "clip_score": float(kept["clip_scores"].mean()),
            "attribute_accuracy": COUNT / (4 * COUNT),
            "straightness": float(kept["straightness"].mean()),
            "distance_to_own_teacher": float(kept["own_distances"].mean()),
            "median_distance_to_own_teacher": float(np.median(kept["own_distances"].numpy())),
            "seconds_per_image": 0.15,
        },
        rel=1e-6,
        abs=1e-12,
    )


def test_what_was_not_kept_does_not_apply_and_has_no_interval() -> None:
    found = numbers(Reduced({"clip_scores": statistics()["clip_scores"]}))
    assert {name for name, value in found.items() if value is not None} == {"clip_score", "clip_score_interval"}


def test_nothing_that_was_told_is_no_accuracy_and_no_error() -> None:
    found = numbers(Reduced({"hits": torch.zeros(COUNT, 2, dtype=torch.int64)}))
    assert found["attribute_accuracy"] is None and found["attribute_accuracy_interval"] is None
    once = torch.zeros(COUNT, 2, dtype=torch.int64)
    once[0] = 1
    found = numbers(Reduced({"hits": once}))
    assert found["attribute_accuracy"] == 1.0
    assert found["attribute_accuracy_interval"] is None, "in some replicates there is nothing to divide by"


def test_one_picture_has_a_mean_and_no_interval() -> None:
    found = numbers(Reduced({"clip_scores": torch.tensor([0.5])}))
    assert (found["clip_score"], found["clip_score_interval"]) == (0.5, None)


def test_the_interval_of_a_mean_is_1_96_standard_errors() -> None:
    values = statistics()["clip_scores"]
    found = numbers(Reduced({"clip_scores": values}))["clip_score_interval"]
    assert found == pytest.approx(1.96 * float(values.std()) / COUNT**0.5, rel=0.3)


def test_a_few_flips_move_the_mean_and_not_the_median() -> None:
    calm = torch.full((COUNT,), 0.1) + torch.arange(COUNT) / 1e4
    flipped = calm.clone()
    flipped[:5] = 9.0
    a, b = (numbers(Reduced({"own_distances": one})) for one in (calm, flipped))
    mean, median = "distance_to_own_teacher", "median_distance_to_own_teacher"
    assert b[mean] > 5 * a[mean] and b[median] == pytest.approx(a[median], rel=0.05)  # type: ignore[operator]
    assert b[f"{mean}_interval"] > 100 * b[f"{median}_interval"]  # type: ignore[operator]


def test_the_interval_of_a_frechet_distance_is_its_spread_over_draws_of_the_pictures() -> None:
    drawn = [
        frechet_distance(pictures(COUNT, 2 * i, 1.0).features, pictures(COUNT, 2 * i + 1).features) for i in range(80)
    ]
    found = numbers(Reduced({}, {"reference": (pictures(COUNT, 500, 1.0), pictures(COUNT, 501))}))
    assert found["frechet_distance_interval"] == pytest.approx(1.96 * np.std(drawn), rel=0.5)


def test_wide_features_have_few_replicates() -> None:
    assert Pictures(torch.zeros(4, WIDE)).count == REPLICATES
    assert Pictures(torch.zeros(4, WIDE + 1)).count == FEW_REPLICATES


def test_further_distances_are_those_of_the_judges() -> None:
    ours, theirs = pictures(COUNT, 1), pictures(COUNT + 7, 2, shift=0.5)
    found = numbers(Reduced({}, dict.fromkeys(("kid", "precision_recall", "dinov2", "cmmd"), (ours, theirs))))
    a, b = ours.features, theirs.features
    precision, recall = precision_recall(a.float(), b.float())
    values = {name: value for name, value in found.items() if value is not None and not name.endswith("_interval")}
    assert values == pytest.approx(
        {
            "kid": float(kernel_distances(a, b, subset_size=COUNT).mean()),
            "precision": precision,
            "recall": recall,
            "frechet_distance_dinov2": frechet_distance(a, b),
            "cmmd": cmmd(a, b),
        },
        rel=1e-9,
    )
    assert 0 < precision < 1 and 0 < recall < 1
    for name in ("kid", "cmmd"):
        assert found[f"{name}_interval"] is None
    expected = 1.96 * (precision * (1 - precision) / COUNT) ** 0.5
    assert found["precision_interval"] == pytest.approx(expected, rel=0.3), "that of a share"
    assert found["recall_interval"] is not None and found["frechet_distance_dinov2_interval"] is not None


def test_a_rehearsals_two_pictures_have_no_neighbours_enough() -> None:
    pair = (pictures(2, 1), pictures(2, 2))
    found = numbers(Reduced({}, {"precision_recall": pair, "kid": pair, "cmmd": pair}))
    assert found["precision"] is None and found["recall"] is None
    assert found["kid"] is not None and found["cmmd"] is not None
