"""Measuring a cell: what is kept of its samples, and how fast they are drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from infra.artifact import Folder
from models.pipelines.opening import open_pipeline
from tasks.evaluate.cells import Cell
from tasks.evaluate.measure import CONTACT_PICTURES, Sampled, seeds_of, speed
from tasks.evaluate.statistics import Judges
from tasks.roles import STUDENT
from tests.models.untrained import captions, noise
from tests.tasks.conftest import PERF

COUNT = CONTACT_PICTURES + 4


def sampled(judges: Judges, size: int, pictures: Tensor, latents: Tensor, prompts: list[str]) -> Sampled:
    """The samples, taken in by batches of that size."""
    found = Sampled()
    for start in range(0, len(prompts), size):
        batch = slice(start, start + size)
        found.add(judges, pictures[batch], latents[batch], prompts[batch])
    return found


def test_what_is_kept_does_not_depend_on_the_batches(judges: Judges) -> None:
    latents, prompts = noise(COUNT), captions(COUNT)
    pictures = torch.randint(256, (COUNT, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    whole, parts = (sampled(judges, size, pictures, latents, prompts) for size in (COUNT, 7))
    own = noise(COUNT, seed=1)
    one, other = whole.to_tensors(own), parts.to_tensors(own)
    assert one.keys() == other.keys() == {"count", "sum", "outer", "clip_scores", "hits", "distances"}
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor)
    assert parts.latents.equal(latents.half())
    assert parts.contact.equal(pictures[:CONTACT_PICTURES]), "the first ones"


def test_the_distance_is_that_of_the_latents_as_they_are_kept(judges: Judges) -> None:
    latents, prompts = noise(3), captions(3)
    pictures = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    found = sampled(judges, 3, pictures, latents, prompts)
    assert "distances" not in found.to_tensors(None), "nobody is compared with its own teacher's teacher"
    assert found.to_tensors(latents.half())["distances"].eq(0).all()
    expected = (latents.half().float() - 1).square().flatten(1).mean(1)
    torch.testing.assert_close(found.to_tensors(torch.ones_like(latents))["distances"], expected)


def test_a_sample_has_its_own_seed_whatever_the_batch() -> None:
    assert seeds_of(1000, range(3, 6)) == seeds_of(1000, range(10))[3:6]
    assert len({*seeds_of(1000, range(100)), *seeds_of(1001, range(100))}) == 200


def test_the_speed_is_that_of_a_whole_picture(flow: Folder) -> None:
    model, drawn = open_pipeline(flow.path), list[int]()
    decode = model.decode

    def counted(latent: Tensor) -> Tensor:
        drawn.append(len(latent))
        return decode(latent)

    model.decode = counted  # type: ignore[method-assign]
    found = speed(model, Cell(STUDENT, 1, 1.0, "euler"), ["a red ring"], PERF)
    assert {*found} == {"seconds_per_image", "images_per_second"} and all(value > 0 for value in found.values())
    assert drawn == [1] * 6 + [1, 2], "one to warm up, five for the median, then each batch size"
