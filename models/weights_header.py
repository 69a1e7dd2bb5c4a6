"""What a file of weights holds, told by its header: names and shapes, without torch and without running its pickle."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError, safe_open

Shapes = Mapping[str, tuple[int, ...]]

_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch's magic number as a pickle, before release 1.6
_BROKEN = (
    pickle.UnpicklingError, AttributeError, EOFError, ImportError, LookupError, OSError, OverflowError, TypeError,
    ValueError, SafetensorError, zipfile.BadZipFile,
)  # fmt: skip
"""What damaged files make of their readers."""


def read_shapes(path: Path) -> Shapes | None:
    """Name and shape of every tensor of a safetensors file or of a state dict that torch saved, new format or old.

    None where a header does not tell: an archive of code (TorchScript). Raises FileNotFoundError, ValueError for a
    file of another kind, one that is cut short, and one without tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        found = _shapes(path)
    except _BROKEN as error:
        raise ValueError(f"{path}: no whole file of weights: {str(error) or type(error).__name__}") from error
    if found is not None and not found:
        raise ValueError(f"{path}: holds no tensors by name")
    return found


def _shapes(path: Path) -> Shapes | None:
    with path.open("rb") as file:
        start = file.read(len(_LEGACY))
        if start == _LEGACY:
            return _of_pickles(file)
    if start.startswith(_ZIP):
        return _of_archive(path)
    if start[8:9] != b"{":
        raise ValueError("neither safetensors nor what torch.save writes")
    with safe_open(path, "np") as tensors:
        return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118  # no mapping


def _of_archive(path: Path) -> Shapes | None:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any("/code/" in name for name in names):
            return None
        with archive.open([name for name in names if name.endswith("/data.pkl")][0]) as file:
            return _tensors(_Reader(file).load())


def _of_pickles(file: IO[bytes]) -> Shapes:
    """After the magic number: the protocol, the system, what was saved, then the numbers themselves."""
    _, _, saved = (_Reader(file).load() for _ in range(3))
    return _tensors(saved)


def _tensors(saved: object) -> Shapes:
    """The tensors of a state dict; of what was saved with it nothing but its place is known: the key `state_dict`."""
    if isinstance(saved, Mapping) and isinstance(saved.get("state_dict"), Mapping):
        saved = saved["state_dict"]
    named = saved.items() if isinstance(saved, Mapping) else ()
    return {str(name): value.shape for name, value in named if isinstance(value, _Tensor)}


class _Tensor:
    """Stands for a tensor."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


class _Anything:
    """Stands for whatever else a pickle names; takes everything, does nothing."""

    def __new__(cls, *_: object, **__: object) -> _Anything:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...

    def append(self, item: object) -> None: ...


class _Reader(pickle.Unpickler):
    """Reads a pickle without importing or calling anything that it names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, *_: _Tensor(tuple(size))
        if module == "torch._utils" and name == "_rebuild_parameter":
            return lambda tensor, *_: tensor
        return _Anything

    def persistent_load(self, pid: object) -> object:
        return None
