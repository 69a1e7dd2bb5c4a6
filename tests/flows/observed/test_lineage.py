"""What was made from what, and by which runs."""

from __future__ import annotations

from tests.flows.observed.small_store import DAMAGED, Small


def test_what_was_made_of_it_is_found(small: Small) -> None:
    made, lineage = small.made, small.known.lineage
    assert {*lineage.made_of[made["pairs-student"].base]} == {made["distill"].base, made["distill again"].base}
    assert not lineage.made_of.get(DAMAGED)


def test_runs_and_what_was_there_before_are_found(small: Small) -> None:
    made, lineage = small.made, small.known.lineage
    assert lineage.before == {made[f"{one} again"].base: made[one].base for one in ("distill", "evaluate")}
    runs = [run.run_id[-6:] for run in lineage.made_by[made["prompts"].base]]
    assert runs == ["bbbbbb", "aaaaaa"]
