"""What a tracker has to know of an artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from infra.artifact import Artifact


@dataclass(frozen=True)
class Expected:
    """An artifact, and its numbers over steps by name."""

    artifact: Artifact
    numbers: Mapping[str, Sequence[tuple[int, float]]]

    def require(self, found: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        """Every number is there, at its step, and no other: to the precision of 32 bits, which TensorBoard keeps."""
        assert {*found} == {*self.numbers}
        for name, points in self.numbers.items():
            assert [step for step, _ in found[name]] == [step for step, _ in points], name
            assert [value for _, value in found[name]] == pytest.approx([value for _, value in points], rel=1e-6), name
