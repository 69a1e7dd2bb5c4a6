"""One module trained by all ranks: each has a share of every batch, and what is learnt from it is added up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, TypeVar

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tasks.train import ranks

A = TypeVar("A")
B = TypeVar("B")


class WithLoss(nn.Module, Generic[A]):
    """A module with its loss: what looks after gradients and weights looks on while the loss calls the module."""

    def __init__(self, module: nn.Module, loss: Callable[[A], Tensor]) -> None:
        super().__init__()
        self.module, self._loss = module, loss

    def forward(self, at: A, instead: Callable[[], object] | None = None) -> object:
        """The loss; or what is done instead with the module's weights at hand."""
        return self._loss(at) if instead is None else instead()


def together(module: nn.Module, loss: Callable[[A], Tensor], shard: bool) -> Callable[[A], Tensor]:
    """The loss whose backward pass leaves the mean of all ranks' gradients in the module; alone it is the loss itself.

    With ``shard`` the module's parameters become parts of themselves, until `gather` is called.
    """
    if ranks.count() == 1:
        return loss
    with_loss = WithLoss(module, loss)
    if not shard:
        return DistributedDataParallel(with_loss, gradient_as_bucket_view=True)
    from tasks.train.sharding import Shards  # seconds, which most trainings can spare

    shards: Shards[A] = Shards(module, with_loss)
    return shards


def reduces_at_once(loss: Callable[[A], Tensor]) -> bool:
    """Whether the backward pass of a batch's last part adds up what all ranks have gathered until then."""
    return isinstance(loss, DistributedDataParallel)


def unreduced(loss: Callable[[A], Tensor]) -> AbstractContextManager[None]:
    """Within the block the backward passes of replicas add to each rank's own gradients, and none waits for another."""
    return loss.no_sync() if isinstance(loss, DistributedDataParallel) else nullcontext()


def within(loss: Callable[[A], Tensor], do: Callable[[], B]) -> B:
    """Do something else than the loss with its module, on all ranks alike."""
    if not hasattr(loss, "within"):
        return do()
    from tasks.train.sharding import Shards

    assert isinstance(loss, Shards)
    return loss.within(do)


def is_sharded(module: nn.Module) -> bool:
    """Whether each rank has only a part of the module's weights."""
    return any(hasattr(parameter, "placements") for parameter in module.parameters())


def part(tensor: Tensor, like: Tensor) -> Tensor:
    """What this rank keeps of a whole tensor if `like` is spread over the ranks; else the tensor itself."""
    if not hasattr(like, "placements"):
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    # every rank has the whole: nothing has to be sent
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def gather(module: nn.Module, loss: Callable[[A], Tensor]) -> None:
    """Give every rank the whole module again, if each had a part."""
    if is_sharded(module):
        from tasks.train.sharding import Shards

        assert isinstance(loss, Shards)
        loss.gather()
