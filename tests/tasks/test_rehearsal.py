"""A rehearsal is the same work on two samples."""

from __future__ import annotations

import pytest

from flows.recipes import bundled, chain_of, load_recipe
from infra.recipe import Section
from tasks.evaluate.cells import LATENCY_ROUNDS
from tasks.rehearsal import rehearsed
from tasks.sections import Distill, DistillPhase, EvaluateJob, PairsJob, Performance, PromptsJob, World
from tasks.stages import STAGES


def test_what_is_counted_is_cut_and_all_else_is_as_told() -> None:
    found = rehearsed(PairsJob(solver="ddim", steps=25, guidance=3.5, seed=7, samples=1000, part="distill"))
    assert found == PairsJob(
        solver="ddim", steps=2, guidance=3.5, seed=7, samples=2, shard_size=2, max_abs_latent=1e30, part="distill"
    )
    assert rehearsed(PairsJob(steps=1, samples=1)).steps == 1, "what is less already stays"


def test_phases_and_lists_of_numbers_are_cut_too() -> None:
    phase = DistillPhase(loss="perceptual", latent_weight=5.0, steps=3, batch_size=64, learning_rate=0.5)
    (only,) = rehearsed(Distill(phases=(phase,), warmup_steps=3)).phases
    assert only == phase.model_copy(update={"steps": 2, "batch_size": 2})
    job = rehearsed(EvaluateJob(steps=(4, 8), teacher_steps=25, num_images=5000))
    assert (job.steps, job.teacher_steps, job.num_images) == ((2,), 1, 2)
    assert rehearsed(job.model_copy(update={"real": "split"})).real == "captions", "not all pictures of a split"
    assert rehearsed(Performance()).throughput_batch_sizes == (1,)


def test_prompts_need_no_file() -> None:
    found = rehearsed(PromptsJob(source="text", path="prompts.txt", reflow_count=1_600_000))
    assert (found.source, found.path, found.reflow_count) == ("mini", None, 2)


def _amount(stage_id: str, config: Section, roles: list[str]) -> int:
    return STAGES[stage_id.partition("-")[0]].extent(config, roles).pieces


@pytest.mark.parametrize("recipe", bundled())
def test_little_is_left_of_every_stage_of_every_recipe(recipe: str) -> None:
    for node in chain_of(load_recipe(recipe)).nodes.values():
        config = rehearsed(node.config)
        assert _amount(node.id, config, [*node.inputs]) <= LATENCY_ROUNDS + 16, node.id
        assert type(config) is type(node.config)


def test_the_world_has_pictures_enough() -> None:
    world = rehearsed(World(train_images=16_000))
    assert world.val_images >= 2 * rehearsed(EvaluateJob()).num_images and world.train_images > 0
