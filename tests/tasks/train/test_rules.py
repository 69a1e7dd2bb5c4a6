"""Which numbers of a training break a rule, and in which words."""

from __future__ import annotations

import math

import pytest

from tasks.train.rules import broken


@pytest.mark.parametrize(
    ("rule", "values", "words"),
    [
        ("nan", [], None),
        ("nan", [1.0, 1e30], None),
        ("nan", [1.0, math.nan], "is nan"),
        ("> 2x best", [1.0, math.inf], "is inf"),
        ("> 0.5", [0.7, 0.5], None),
        ("> 0.5", [0.1, 0.51], "is 0.51, over 0.5"),
        (">5e-1", [0.6], "is 0.6, over 5e-1"),
        ("> 2x best", [1.0], None),
        ("> 2x best", [0.1, 0.2], None),
        ("> 2x best", [0.1, 0.5, 0.21], "is 0.21, over 2x its best, 0.1"),
        ("> 1.5x best", [math.nan, 0.3], None),
    ],
)
def test_the_last_number_breaks_a_rule_or_not(rule: str, values: list[float], words: str | None) -> None:
    assert broken(rule, values) == words
