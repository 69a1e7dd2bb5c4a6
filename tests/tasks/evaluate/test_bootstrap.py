"""The interval of a number holds what it should in nineteen of twenty cases."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.evaluate.bootstrap import REPLICATES, half_width, resamples


def test_replicates_draw_as_many_pictures_as_there_are() -> None:
    drawn = resamples(40)
    assert drawn.shape == (REPLICATES, 40) and drawn.sum(1).eq(40).all()
    assert drawn.equal(resamples(40)), "the same for every model"
    assert not drawn.equal(resamples(40, "others")), "another set of pictures is drawn for itself"
    assert drawn.mean().item() == 1 and 0.8 < drawn.var().item() < 1.2


def test_the_width_is_that_of_a_normal_distribution() -> None:
    assert half_width([1.0, 2.0, 3.0]) == pytest.approx(1.96)


def test_the_interval_of_a_mean_holds_the_truth_nineteen_times_of_twenty() -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        values = rng.standard_exponential(60)
        held += abs(values.mean() - 1) <= half_width((resamples(60).numpy() @ values / 60).tolist())
    assert 0.88 < held / 400 < 0.98
