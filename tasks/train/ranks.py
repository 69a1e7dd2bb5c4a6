"""Who this process is among those that train together, and the little that they tell one another.

A process that trains alone is the only rank: then nothing here asks for a group of processes, or changes a bit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from infra.errors import UserError
from tasks.order import places

_PATIENCE = timedelta(hours=1)
"""How long ranks wait for one another: the first one may be writing a checkpoint to a store that is far away."""

_T = TypeVar("_T")


@contextmanager
def joined() -> Iterator[None]:
    """Be a rank of the group that torchrun's variables describe, on the device that is this one's. Raises UserError.

    Of the devices that the process sees the rank takes the one of its number; without any it computes on the CPU.
    """
    if has_gpu := torch.cuda.is_available():
        torch.cuda.set_device(_own_device(int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()))
    dist.init_process_group("cpu:gloo,cuda:nccl" if has_gpu else "gloo", timeout=_PATIENCE)
    yield
    dist.destroy_process_group()  # not after an error: who waits for a rank that is gone would do so here, too


def _own_device(local_rank: int, there: int) -> int:
    if local_rank >= there:
        shown = os.environ.get("CUDA_VISIBLE_DEVICES")
        raise UserError(
            f"gpus: {os.environ['LOCAL_WORLD_SIZE']}, but this process sees {there} (CUDA_VISIBLE_DEVICES:"
            f" {'not set' if shown is None else shown}). Ask for at most {there}, or show it more."
        )
    return local_rank


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """How many train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether it is this process that commits, and keeps checkpoints."""
    return rank() == 0


def share(batch_size: int, rank: int, count: int) -> slice:
    """The rows of every batch that are one rank's. Raises UserError when the shares would not be equal."""
    try:
        return slice(*places(0, batch_size, rank, count))
    except ValueError as error:
        raise UserError(
            f"{error}. Give a batch_size that {count} divides, or as many gpus as divide {batch_size}."
        ) from error


def wait() -> None:
    """Wait until every rank is here."""
    if count() > 1:
        dist.barrier()


def agreed(*flags: bool) -> list[bool]:
    """Of each flag whether any rank has it set: the same on all of them."""
    if count() == 1:
        return [*flags]
    told = torch.tensor(flags, dtype=torch.uint8)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return [bool(flag) for flag in told]


def mean(value: Tensor) -> Tensor:
    """The mean over all ranks."""
    if count() > 1:
        value = value.clone()
        dist.all_reduce(value)
        value /= count()
    return value


def told(value: _T | None) -> _T | None:
    """What the first rank has, small, on every rank."""
    if count() > 1:
        box: list[Any] = [value]
        dist.broadcast_object_list(box)
        value = box[0]
    return value


class FromFirst(Mapping[str, Tensor]):
    """Tensors that only the first rank can read, on every rank: all have to ask for the same ones in the same order.

    One at a time is on the way, on the rank's own device.
    """

    def __init__(self, tensors: Mapping[str, Tensor] | None, device: torch.device) -> None:
        self._tensors, self._device = tensors, device
        self._names = told(None if tensors is None else [*tensors]) or []

    def __getitem__(self, name: str) -> Tensor:
        here = None if self._tensors is None else self._tensors[name].to(self._device)
        kind = told(None if here is None else (here.shape, here.dtype))
        assert kind is not None, "the first rank has it"
        tensor = torch.empty(kind[0], dtype=kind[1], device=self._device) if here is None else here
        dist.broadcast(tensor, 0)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
