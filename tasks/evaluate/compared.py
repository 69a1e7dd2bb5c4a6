"""Which sets of pictures are compared, for each distance: a cell's with the real ones and with the teacher's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from torch import Tensor

from tasks.evaluate.real import Real
from tasks.evaluate.reductions import Pictures
from tasks.sections import EvaluateJob

SEEN_BY = {"coco": "features", "kid": "features", "precision_recall": "features", "dinov2": "dinov2", "cmmd": "cmmd"}
"""By comparison with real pictures, the features that it takes."""

Pairs = dict[str, tuple[Pictures, Pictures]]


class Compared:
    """The sets that every cell is compared with; ``reference`` are features of the teacher's other pictures."""

    def __init__(self, config: EvaluateJob, real: Real, reference: Tensor | None) -> None:
        self.names = {name: SEEN_BY[name] for name in ("coco", *config.extras)}
        self.kinds, self.source = {*self.names.values()}, real
        self.of_split = config.real == "split"
        self.reference = None if reference is None else Pictures(reference, "others")

    @cached_property
    def real(self) -> dict[str, Pictures]:
        """The real pictures, by features."""
        return {kind: Pictures(self.source.own(kind)) for kind in self.kinds}

    def of(self, columns: Mapping[str, Tensor]) -> Pairs:
        """The two sets of each comparison of a cell, by its name."""
        ours = {kind: Pictures(columns[kind]) for kind in self.kinds}
        found = {name: (ours[kind], self.real[kind]) for name, kind in self.names.items()}
        return found | ({"reference": (ours["features"], self.reference)} if self.reference else {})

    def floor(self, columns: Mapping[str, Tensor]) -> Pairs:
        """Those of the floor, beside a teacher's ``columns``: two disjoint sets of one kind. Nothing without others."""
        if self.reference is None:
            return {}
        others = {kind: Pictures(self.source.others(kind), "others") for kind in self.kinds}
        rest = {kind: Pictures(self.source.without_others(kind)) for kind in self.kinds} if self.of_split else self.real
        found = {name: (others[kind], rest[kind]) for name, kind in self.names.items()}
        return found | {"reference": (self.reference, Pictures(columns["features"]))}
