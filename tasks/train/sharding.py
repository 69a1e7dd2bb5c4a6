"""A module whose weights, gradients, average and moments are spread over the ranks (ZeRO 3, by torch's FSDP2)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard

from infra.artifact.tensor_file import whole

A = TypeVar("A")
B = TypeVar("B")


class Shards(Generic[A]):
    """A loss of a module of which each rank keeps a part: what is needed of the rest comes when it is computed with.

    ``with_loss`` is a module that has it as a part and gives the loss: FSDP2 never lets go of what it was given itself.
    Every backward pass adds the mean of all ranks' gradients to the rank's part of them: to keep whole ones until the
    last would take the room that is not there.
    """

    def __init__(self, module: nn.Module, with_loss: nn.Module) -> None:
        self._module, self._with_loss, self._blank = module, with_loss, _without_weights(module)
        module.to(memory_format=torch.contiguous_format)  # FSDP2 takes no other
        for block in (*_blocks(module), with_loss):
            fully_shard(block)

    def __call__(self, at: A) -> Tensor:
        loss: Tensor = self._with_loss(at)
        return loss

    @torch.no_grad()
    def within(self, do: Callable[[], B]) -> B:
        """Do something else with the module, whose weights come as they are needed."""
        try:
            return cast(B, self._with_loss(None, do))
        finally:
            cast(FSDPModule, self._with_loss).reshard()  # no backward pass does: the next step would find these weights

    @torch.no_grad()
    def gather(self) -> None:
        """Make it the module it was before, with the weights it has now, whole on every rank."""
        sharded = dict(self._module.named_parameters())
        object.__setattr__(self._module, "__dict__", self._blank.__dict__)
        for name, blank in dict(self._module.named_parameters()).items():
            weights = torch.empty_like(blank, device=sharded[name].device).copy_(whole(sharded.pop(name)))
            self._module.load_state_dict({name: weights}, strict=False, assign=True)


def _without_weights(module: nn.Module) -> nn.Module:
    """A copy of the module whose parameters take no room: FSDP2 changes classes and adds hooks, and undoes neither."""
    empty = {id(one): nn.Parameter(one.detach().to("meta"), one.requires_grad) for one in module.parameters()}
    return copy.deepcopy(module, {**empty})


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The layers that come one after the other: of each the weights are brought together and let go again."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from (layer for layer in child if next(layer.parameters(), None) is not None)
        else:
            yield from _blocks(child)
