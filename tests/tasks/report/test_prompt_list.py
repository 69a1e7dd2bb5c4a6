"""The report shows twenty prompts as they are, and what became of the rest."""

from __future__ import annotations

from infra.artifact import Artifact
from tasks.data.part_prompts import PartPrompts
from tasks.report.prompt_list import SHOWN, read_prompt_list


def test_the_first_twenty_prompts_and_all_counts(prompts: Artifact) -> None:
    found = read_prompt_list(prompts)
    assert [row.prompt for row in found.rows] == [text for _, text in PartPrompts(prompts, "reflow")][:SHOWN]
    assert {row.part for row in found.rows} == {"reflow"} and all(row.source.startswith("mini:") for row in found.rows)
    counts = dict(found.counts)
    assert counts["kept"] == 24 and counts["evaluation caption"] == prompts.manifest.metrics["evaluation_caption"]
    assert counts.pop("read") == sum(counts.values())
