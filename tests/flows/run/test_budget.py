"""A run ends before a stage that would cost too much, and soon after one that does."""

from __future__ import annotations

import re

import pytest

from flows.recipes import chain_of, load_recipe
from flows.run.budget import UNLIMITED, Purse, Spent, budget_faults
from flows.run.costs import Site
from infra.errors import UserError
from tasks.sections.budget import Budget

SITE = Site(cost={"gpu": "2.5/h"}, currency="EUR")


def spent(stage: str, hours: float) -> Spent:
    return Spent(stage, "NVIDIA A100", 3600 * hours)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (
            Budget(run="40h"),
            r"budget\.run: 40h: 50 h 00 min of devices are spent\. reflow-1 is stopped, what it",
        ),
        (Budget(run="100"), r"budget\.run: 100: 125\.00 EUR are spent\."),
        (Budget(stages={"reflow": "19 h"}), r"budget\.stages\.reflow: 19 h: 20 h .* of devices are spent"),
        (Budget(stages={"reflow-1": "49.9", "reflow": "1h"}), r"budget\.stages\.reflow-1: 49\.9: 50\.00 EUR are spent"),
    ],
)
def test_what_is_spent_beyond_a_limit_ends_the_run(budget: Budget, message: str) -> None:
    purse, stages = Purse(budget, SITE), [spent("pairs-1", 30), spent("reflow-1", 20)]
    with pytest.raises(UserError) as caught:
        purse.require("reflow-1", stages)
    assert re.match(message, str(caught.value)), caught.value


@pytest.mark.parametrize("budget", [Budget(run="50h", stages={"pairs": "1h"}), Budget(run="125"), Budget()])
def test_what_is_within_its_limits_goes_on(budget: Budget) -> None:
    """A limit is what may be spent; another stage's is no matter of this one."""
    Purse(budget, SITE).require("reflow-1", [spent("pairs-1", 30), spent("reflow-1", 20)])


def test_nothing_is_begun_that_is_expected_to_go_beyond() -> None:
    purse, before = Purse(Budget(run="40h"), SITE), [spent("pairs-1", 30)]
    purse.require_before("reflow-1", 9 * 3600, None, before)
    purse.require_before("reflow-1", None, None, before)  # nobody knows
    with pytest.raises(UserError, match=r"budget\.run: 40h: 41 h 00 min of devices are spent"):
        purse.require_before("reflow-1", None, None, [spent("pairs-1", 41)])
    with pytest.raises(UserError, match=r"budget\.run: 40h: reflow-1 is expected to take 11 h .* 41 h 00 min .*in all"):
        purse.require_before("reflow-1", 11 * 3600, None, before)


def test_only_a_purse_with_a_limit_is_looked_into() -> None:
    assert not UNLIMITED and Purse(Budget(stages={"pairs": "1h"}), Site())


@pytest.mark.parametrize(
    ("overrides", "site", "faults"),
    [
        (["budget={run: 40h, stages: {pairs: 1h, pairs-student: 2}}"], SITE, []),
        (["budget.stages={pars-1: 1h}"], SITE, ["budget.stages.pars-1: no stage of tiny. Did you mean pairs-1?"]),
        (["budget.run=100"], Site(), ["budget: an amount of money, but no site's file says what devices cost."]),
    ],
)
def test_what_cannot_be_counted_is_told_before_anything_runs(
    overrides: list[str], site: Site, faults: list[str]
) -> None:
    found = [*budget_faults(chain_of(load_recipe("tiny", overrides)), site)]
    assert len(found) == len(faults) and all(one.startswith(fault) for one, fault in zip(found, faults, strict=True))
