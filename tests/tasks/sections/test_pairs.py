"""The pairs of one part of the prompts are told by their section and by what else shapes them."""

from __future__ import annotations

from tasks.sections import Pairs, PairsJob, Prompts


def test_a_job_is_its_section_and_what_else_shapes_the_output() -> None:
    job = PairsJob.of(Pairs(steps=3), "distill", Prompts(reflow_count=5, distill_count=7), "bf16")
    assert (job.steps, job.part, job.dtype, job.samples) == (3, "distill", "bf16", 7)
    assert job.identity() == {**Pairs(steps=3).identity(), "part": "distill", "round": 1, "dtype": "bf16"}
