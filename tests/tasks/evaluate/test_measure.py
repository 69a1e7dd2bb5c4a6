"""Measuring a cell: what is kept of its samples."""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.evaluate.measure import CONTACT_PICTURES, Sampled, seeds_of
from tasks.evaluate.statistics import Judges, Seen
from tests.models.untrained import captions, noise

COUNT = CONTACT_PICTURES + 4


def sampled(judges: Judges, size: int, pictures: Tensor, latents: Tensor, prompts: list[str]) -> Sampled:
    """The samples, taken in by batches of that size."""
    found = Sampled()
    for start in range(0, len(prompts), size):
        batch = slice(start, start + size)
        texts = judges.read(prompts[batch])
        found.add(Seen.of(judges, pictures[batch], prompts[batch], texts), latents[batch])
    return found


def test_what_is_kept_does_not_depend_on_the_batches(judges: Judges) -> None:
    latents, prompts = noise(COUNT), captions(COUNT)
    pictures = torch.randint(256, (COUNT, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    whole, parts = (sampled(judges, size, pictures, latents, prompts) for size in (COUNT, 7))
    own = {"own_distances": noise(COUNT, seed=1)}
    one, other = whole.to_tensors(own), parts.to_tensors(own)
    assert one.keys() == other.keys() == {"features", "clip_scores", "hits", "own_distances"}
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor)
    assert parts.latents.equal(latents.half())
    assert parts.contact.equal(pictures[:CONTACT_PICTURES]), "the first ones"


def test_the_distance_is_that_of_the_latents_as_they_are_kept(judges: Judges) -> None:
    latents, prompts = noise(3), captions(3)
    pictures = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    found = sampled(judges, 3, pictures, latents, prompts)
    assert {*found.to_tensors({})} == {"features", "clip_scores", "hits"}, "a first teacher has nobody to equal"
    compared = found.to_tensors({"own": latents.half(), "first": torch.ones_like(latents)})
    assert compared["own"].eq(0).all()
    torch.testing.assert_close(compared["first"], (latents.half().float() - 1).square().flatten(1).mean(1))


def test_a_sample_has_its_own_seed_whatever_the_batch() -> None:
    assert seeds_of(1000, range(3, 6)) == seeds_of(1000, range(10))[3:6]
    assert len({*seeds_of(1000, range(100)), *seeds_of(1001, range(100))}) == 200
