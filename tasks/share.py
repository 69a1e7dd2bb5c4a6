"""Which of a stage's groups one of several workers makes."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from infra.recipe import Count, Section
from tasks.stages import Group


class Share(Section):
    """The part of a stage that one of several workers does."""

    number: int = Field(ge=0, description="which of the shares, from 0")
    of: Count = Field(description="how many shares there are")

    def __str__(self) -> str:
        return f"{self.number + 1} of {self.of}"

    def count(self, groups: Sequence[Group]) -> int:
        """How many groups are its own."""
        return len(groups[self.number :: self.of])

    def in_order(self, groups: Sequence[Group]) -> list[Group]:
        """Every group, in the order in which this worker should look for work.

        Its own, every n-th one, come first. Then it helps the others, whose groups it takes from their ends: it meets
        the one who does them in the middle, and takes over from one who is gone.
        """
        owners = [(self.number + ahead) % self.of for ahead in range(self.of)]
        own, *others = (groups[owner :: self.of] for owner in owners)
        return [*own, *(group for theirs in others for group in reversed(theirs))]
