"""What a network is told beside the noisy latent and the time: one object, whatever the family of pipelines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Condition:
    """The condition of B samples; a part that a family does not know is None.

    ``text`` [B, L, D] are the token embeddings, ``pooled`` [B, P] one embedding of the whole prompt, ``size`` [B, S]
    the numbers that say how large a picture is and how it was cut.
    """

    text: Tensor
    pooled: Tensor | None = None
    size: Tensor | None = None

    def __len__(self) -> int:
        return len(self.text)

    def map(self, change: Callable[[Tensor], Tensor]) -> Condition:
        """The condition with every part changed."""
        return Condition(*(None if part is None else change(part) for part in self._parts()))  # type: ignore[arg-type]

    def expand(self, count: int) -> Condition:
        """The condition of one sample for ``count`` of them."""
        return self.map(lambda part: part.expand(count, *part.shape[1:]))

    def followed_by(self, other: Condition) -> Condition:
        """The condition of both batches in one. Raises ValueError when they know different parts."""
        mine, theirs = self._parts(), other._parts()
        if [part is None for part in mine] != [part is None for part in theirs]:
            raise ValueError("conditions of different families cannot be put into one batch")
        pairs = zip(mine, theirs, strict=True)
        return Condition(*(None if a is None or b is None else torch.cat([a, b]) for a, b in pairs))  # type: ignore[arg-type]

    def _parts(self) -> list[Tensor | None]:
        return [getattr(self, field.name) for field in fields(self)]
