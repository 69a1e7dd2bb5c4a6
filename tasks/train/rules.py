"""Whether the numbers of a training break a rule of `stop_if`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from tasks.sections.stopping import NUMBER


def broken(rule: str, values: Sequence[float]) -> str | None:
    """What is wrong with the last of the values, in words; None while nothing is. No number breaks every rule."""
    if not values:
        return None
    *before, last = values
    if not math.isfinite(last):
        return f"is {last}"
    if rule == "nan":
        return None
    match = re.match(rf"> *({NUMBER})(x best)?", rule)
    assert match is not None, "the recipe's schema has seen to that"
    bound, best = float(match[1]), min((value for value in before if math.isfinite(value)), default=math.inf)
    if match[2]:
        return f"is {last:.4g}, over {match[1]}x its best, {best:.4g}" if last > bound * best else None
    return f"is {last:.4g}, over {match[1]}" if last > bound else None
