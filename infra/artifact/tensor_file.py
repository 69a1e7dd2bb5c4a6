"""Tensors in a safetensors file, written and read one at a time: there is never a second copy of all of them.

safetensors itself writes only what is in the host's memory as a whole, and no two tensors that share theirs.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from safetensors import safe_open

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_LENGTH_BYTES = 8
"""The header's length in bytes goes before it, in so many; the header is padded to a multiple of them."""


class TensorFile(Mapping[str, "Tensor"]):
    """The tensors of a safetensors file; each is read when it is asked for, and then the caller's own.

    `kinds` says what each is (`F32 [320, 4, 3, 3]`), told by the header alone. The file may be removed while it is
    open. Raises SafetensorError, OSError.
    """

    def __init__(self, path: Path) -> None:
        self._file = cast("Any", safe_open(path, "pt", backend="pread"))  # its methods have no types
        slices = {name: self._file.get_slice(name) for name in self._file.keys()}  # noqa: SIM118  # no mapping
        self.kinds = {name: _kind(one.get_dtype(), one.get_shape()) for name, one in slices.items()}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.kinds:
            raise KeyError(name)
        tensor: Tensor = self._file.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.kinds)

    def __len__(self) -> int:
        return len(self.kinds)


def kinds(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """What each tensor is, in the words of `TensorFile.kinds`."""
    return {name: _kind(_dtype(tensor.dtype), tensor.shape) for name, tensor in tensors.items()}


def write(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write a safetensors file; its sha256. The tensors may be on any device and share memory. Raises OSError.

    Where ranks have parts of them, one writes while the others `help_write` the same ones.
    """
    sha256 = hashlib.sha256()
    with path.open("wb") as file:
        for part in _parts(_in_order(tensors)):
            sha256.update(part)
            file.write(part)
    return sha256.hexdigest()


def help_write(tensors: Mapping[str, Tensor]) -> None:
    """Give the rank that writes these tensors what this one has of them."""
    for tensor in _in_order(tensors).values():
        whole(tensor)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor of which ranks have parts, for which every rank has to ask; any other tensor itself."""
    if not hasattr(tensor, "full_tensor"):  # asked so, since the class takes a second to import
        return tensor
    full: Tensor = tensor.full_tensor()
    return full


def _in_order(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The widest numbers first, as safetensors has them, so that every tensor is aligned."""
    return dict(sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])))


def _parts(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    yield _header(tensors)
    for tensor in tensors.values():
        yield _bytes(tensor)


def _header(tensors: Mapping[str, Tensor]) -> bytes:
    described: dict[str, dict[str, object]] = {}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        described[name] = {"dtype": _dtype(tensor.dtype), "shape": [*tensor.shape], "data_offsets": [start, end]}
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text


def _bytes(tensor: Tensor) -> memoryview:
    import torch

    return whole(tensor.detach()).cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


@functools.cache
def _dtype(dtype: torch.dtype) -> str:
    """What safetensors calls it: read off a file that it writes."""
    import torch
    from safetensors.torch import save

    name: str = json.loads(save({"x": torch.empty(0, dtype=dtype)})[_LENGTH_BYTES:])["x"]["dtype"]
    return name


def _kind(dtype: str, shape: Iterable[int]) -> str:
    return f"{dtype} {[*shape]}"
