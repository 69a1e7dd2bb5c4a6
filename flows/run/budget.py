"""A run stops before what would exceed its budget, and at the end of the unit or step in which it does."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flows.algorithms.chain import Chain
from flows.run.costs import HOUR_S, Site
from infra.errors import UserError
from infra.words import duration
from tasks.sections.budget import Budget
from tasks.stages import STAGES, stage_of


class OverBudget(UserError):
    """A run has spent what it may, or would."""


class Spent(NamedTuple):
    """What a stage of a run took of devices."""

    stage: str
    device: str | None
    device_seconds: float


@dataclass(frozen=True)
class Purse:
    """What a run may spend, and what that is in devices' time or money."""

    budget: Budget
    site: Site

    def __bool__(self) -> bool:
        """Whether there is a limit at all."""
        return self.budget != Budget()

    def require_before(self, stage_id: str, device_s: float | None, device: str | None, spent: Sequence[Spent]) -> None:
        """Raise OverBudget where a stage that is expected to take so long on that device would go beyond a limit.

        Where nobody knows how long it takes, when a limit is exceeded already.
        """
        if device_s is None:
            self.require(stage_id, spent)
            return
        more = Spent(stage_id, device, device_s)
        for field, limit, total in self._beyond(stage_id, [*spent, more]):
            raise OverBudget(
                f"{field}: {limit}: {stage_id} is expected to take {self._shown(limit, [more])}, which would be {total}"
                f" in all. Nothing of it is begun. Raise {field} in the recipe, or make less."
            )

    def require(self, stage_id: str, spent: Sequence[Spent]) -> None:
        """Raise OverBudget where what is spent is beyond a limit."""
        for field, limit, total in self._beyond(stage_id, spent):
            raise OverBudget(
                f"{field}: {limit}: {total} are spent. {stage_id} is stopped, what it committed is kept: raise {field}"
                " and run the recipe again to go on from there."
            )

    def _beyond(self, stage_id: str, spent: Sequence[Spent]) -> Iterator[tuple[str, str, str]]:
        """Field, limit and what is spent of it, for each that is exceeded."""
        told, kind = self.budget.stages, stage_of(stage_id).name
        own = next((name for name in (stage_id, kind) if name in told), None)
        limits = [("budget.run", self.budget.run, spent)]
        if own is not None:
            limits += [(f"budget.stages.{own}", told[own], [one for one in spent if one.stage == stage_id])]
        for field, limit, counted in limits:
            if limit is not None and self._amount(limit, counted) > float(limit.rstrip(" h")):
                yield field, limit, self._shown(limit, counted)

    def _amount(self, limit: str, spent: Sequence[Spent]) -> float:
        if limit.endswith("h"):
            return sum(one.device_seconds for one in spent) / HOUR_S
        return self.site.spent(spent) or 0.0

    def _shown(self, limit: str, spent: Sequence[Spent]) -> str:
        amount = self._amount(limit, spent)
        return f"{duration(amount * HOUR_S)} of devices" if limit.endswith("h") else self.site.shown(amount)


UNLIMITED = Purse(Budget(), Site())


def budget_faults(chain: Chain, site: Site) -> Iterator[str]:
    """What of a budget is no stage of the chain, or cannot be counted."""
    budget = chain.recipe.budget
    known = [*dict.fromkeys([*chain.nodes, *(node.stage.name for node in chain.nodes.values())])]
    for name in budget.stages:
        if name not in known and name not in STAGES:
            near = difflib.get_close_matches(name, known, n=1) or known
            yield f"budget.stages.{name}: no stage of {chain.recipe.name}. Did you mean {near[0]}?"
    amounts = [budget.run, *budget.stages.values()]
    if any(one is not None and not one.endswith("h") for one in amounts) and not site.cost:
        yield "budget: an amount of money, but no site's file says what devices cost. Say hours (`40h`), or the prices."
