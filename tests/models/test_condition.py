"""What a network is told travels as one: mapped, expanded and joined in all its parts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.condition import Condition


def condition(batch: int = 2) -> Condition:
    """A condition of every part, no two numbers alike."""
    numbers = torch.arange(batch * (3 * 4 + 5 + 6), dtype=torch.float32).view(batch, -1)
    return Condition(numbers[:, :12].view(batch, 3, 4), numbers[:, 12:17], numbers[:, 17:])


def parts(found: Condition) -> list[Tensor]:
    """The parts that are there."""
    return [part for part in (found.text, found.pooled, found.size) if part is not None]


def test_it_is_as_long_as_its_batch() -> None:
    assert len(condition(3)) == len(Condition(torch.zeros(3, 1, 1))) == 3


def test_every_part_is_changed_and_one_that_is_not_there_stays_so() -> None:
    whole = condition()
    for found, part in zip(parts(whole.map(lambda part: 2 * part)), parts(whole), strict=True):
        assert torch.equal(found, 2 * part)
    half = Condition(whole.text, size=whole.size).map(lambda part: part.to(torch.float16))
    assert [part.dtype for part in parts(half)] == [torch.float16] * 2 and half.pooled is None


def test_a_selection_of_samples_is_one_of_every_part() -> None:
    whole, ids = condition(4), torch.tensor([3, 1])
    taken = whole.map(lambda part: part[ids])
    assert len(taken) == 2
    for found, part in zip(parts(taken), parts(whole), strict=True):
        assert torch.equal(found, part[ids])


def test_one_sample_stands_for_many() -> None:
    one = condition(1)
    many = one.expand(5)
    assert [part.shape for part in parts(many)] == [(5, 3, 4), (5, 5), (5, 6)]
    for found, part in zip(parts(many), parts(one), strict=True):
        assert all(torch.equal(row, part[0]) for row in found)
    assert len(parts(Condition(one.text).expand(2))) == 1


def test_two_samples_stand_for_no_others() -> None:
    with pytest.raises(RuntimeError, match="expanded size"):
        condition(2).expand(5)


def test_two_batches_are_one_in_their_order() -> None:
    first, second = condition(2), condition(3)
    both = first.followed_by(second)
    assert len(both) == 5
    for found, one, two in zip(parts(both), parts(first), parts(second), strict=True):
        assert torch.equal(found, torch.cat([one, two]))


def test_two_batches_of_text_alone_have_nothing_else() -> None:
    both = Condition(torch.zeros(1, 2, 3)).followed_by(Condition(torch.ones(2, 2, 3)))
    assert both.text.flatten(1).sum(1).tolist() == [0, 6, 6] and len(parts(both)) == 1


@pytest.mark.parametrize("left_out", ["pooled", "size"])
def test_different_families_do_not_go_into_one_batch(left_out: str) -> None:
    whole = condition()
    other = replace(whole, **{left_out: None})
    for one, two in ((whole, other), (other, whole)):
        with pytest.raises(ValueError, match="^conditions of different families cannot be put into one batch$"):
            one.followed_by(two)


def test_a_condition_is_not_changed_in_place() -> None:
    with pytest.raises(AttributeError):
        condition().text = torch.zeros(1)  # type: ignore[misc]
