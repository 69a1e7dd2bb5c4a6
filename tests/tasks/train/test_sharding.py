"""Spread over ranks, and whole again: the module is what it was before. How it trains is seen in test_ranks.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from tasks.train.fit import At, Fit
from tasks.train.sharding import Shards, _blocks
from tasks.train.together import WithLoss, is_sharded
from tests.tasks.train.conftest import WAYS
from tests.tasks.train.rank_jobs import left, network, plan, regression


@pytest.fixture
def group() -> Iterator[None]:
    """A group of one."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def ends(module: nn.Module) -> tuple[object, ...]:
    """What can be seen of a module from outside."""
    hooks = [
        len(one._forward_pre_hooks) + len(one._forward_hooks) + len(one._state_dict_pre_hooks)
        for one in module.modules()
    ]
    state = {name: (value.stride(), value.flatten().tolist()) for name, value in module.state_dict().items()}
    trained = [name for name, value in module.named_parameters() if value.requires_grad]
    return [type(one) for one in module.modules()], hooks, state, trained


def test_a_module_is_whole_again_and_the_same(group: None) -> None:
    module, expected = network(), ends(network())
    for _ in range(2):  # as one phase follows the other
        require_spread_and_whole(module, expected)


def require_spread_and_whole(module: nn.Module, expected: tuple[object, ...]) -> None:
    spread = Shards(module, WithLoss(module, regression(module)))
    assert is_sharded(module) and type(module.layers[0]) is not nn.Conv2d
    assert spread(At(0, {}, slice(0, 12))).item() == regression(network())(At(0, {}, slice(0, 12))).item()
    spread.gather()
    assert ends(module) == expected and not is_sharded(module)


def test_average_gradients_and_moments_are_spread_too(group: None) -> None:
    module = network()
    spread = Shards(module, WithLoss(module, regression(module)))
    training = Fit(module, plan())
    training.train(spread)
    kept: list[Tensor] = [*training.ema.values(), *(p.grad for p in training.parameters.values() if p.grad is not None)]
    for state in training.optimizer.state.values():
        kept += [state["exp_avg"], state["exp_avg_sq"]]
    assert len(kept) == 4 * len(training.parameters) and all(hasattr(one, "placements") for one in kept)


def test_layers_in_a_row_are_brought_together_one_by_one() -> None:
    inner = nn.ModuleList([nn.Linear(1, 1), nn.Dropout(), nn.Sequential(nn.ModuleList([nn.Linear(1, 1)]))])
    outer = nn.Sequential(nn.Linear(1, 1), nn.Sequential(inner))
    assert [*_blocks(outer)] == [inner[0], inner[2]], "what has no weights is none, and none is within another"


@pytest.mark.slow
@pytest.mark.parametrize("way", [way.at for way in WAYS if way.shard])
def test_every_rank_ends_with_the_module_as_it_was(way: str, alone: Path, by_three: Path) -> None:
    for rank in range(3):
        assert left(by_three, way, rank)["kinds"] == left(alone, "whole")["kinds"]
    assert torch.distributed.is_initialized() is False
