"""Which tensors a weights file holds, read from its header without torch: another network's is told before a run."""

from __future__ import annotations

import json
import pickletools
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

HOLDS = {
    "inception": "Mixed_7c.branch_pool.conv.weight",
    "vgg": "features.28.weight",
    "alex": "classifier.6.weight",
}
"""Of each judge's network a tensor that the others do not have, as torch-fidelity and torchvision name them."""

LACKS = {"alex": "features.28.weight"}
"""VGG has all of AlexNet's names, and more."""

_LEGACY_PICKLES = 4
"""Before 1.6 torch wrote a magic number, its protocol and the system, then what was saved."""


def check_weights(path: Path, network: str) -> None:
    """Raise FileNotFoundError without the file, ValueError when it does not hold the network (a key of `HOLDS`)."""
    names = tensor_names(path)
    if HOLDS[network] not in names or LACKS.get(network) in names:
        some = ", ".join(sorted(names)[:3]) or "nothing"
        raise ValueError(f"{path}: no weights of {network}: no tensor {HOLDS[network]}; it holds {some}, ...")


def tensor_names(path: Path) -> frozenset[str]:
    """The names of the tensors in a .safetensors file or a torch checkpoint, and other words in the latter.

    Nothing is unpickled. Raises FileNotFoundError without the file, ValueError when it is neither or cut short.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights file {path}")
    try:
        with path.open("rb") as file:
            return frozenset(_safetensors(file) if path.suffix == ".safetensors" else _checkpoint(file))
    except (ValueError, KeyError, struct.error, zipfile.BadZipFile, UnicodeDecodeError, IndexError) as error:
        raise ValueError(f"{path}: no weights file: {error}; expected safetensors or a torch checkpoint") from error


def _safetensors(file: IO[bytes]) -> Iterator[str]:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > 100_000_000:
        raise ValueError(f"a header of {length} bytes")
    yield from json.loads(file.read(length)).keys() - {"__metadata__"}


def _checkpoint(file: IO[bytes]) -> Iterator[str]:
    if not zipfile.is_zipfile(file):
        file.seek(0)
        for _ in range(_LEGACY_PICKLES):
            yield from _words(file)
        return
    with zipfile.ZipFile(file) as archive:
        (data,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        with archive.open(data) as pickled:
            yield from _words(pickled)


def _words(file: IO[bytes]) -> Iterator[str]:
    """The texts in a pickle, which is read and not run."""
    return (str(value) for opcode, value, _ in pickletools.genops(file) if "UNICODE" in opcode.name)
