"""A process that trains alone uses none of it."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from tasks.train.together import gather, is_sharded, part, reduces_at_once, together, unreduced


def test_alone_a_loss_is_itself() -> None:
    """How it is with several is seen in test_ranks.py."""
    module = nn.Linear(2, 2)

    def loss(at: int) -> Tensor:
        return module(torch.ones(1, 2)).sum()

    assert together(module, loss, shard=False) is together(module, loss, shard=True) is loss
    assert not reduces_at_once(loss) and isinstance(unreduced(loss), nullcontext)
    gather(module, loss)
    assert not is_sharded(module)


def test_where_nothing_is_spread_the_whole_is_kept() -> None:
    tensor = torch.ones(2)
    assert part(tensor, torch.zeros(2)) is tensor
