"""The weights of a network as files: which there are, whether they are whole, how many numbers they hold. No torch.

A safetensors file is eight bytes with the length of its header, the header (JSON: name -> dtype, shape, data_offsets)
and the data, to the last offset. safetensors' own reader would say less of a file that was cut off, and import numpy.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def variants(part: Path) -> set[str]:
    """The variants that a network's weights are there in; "" is the plain one.

    Raises FileNotFoundError where there are none, ValueError where there are but pickles.
    """
    found = {_variant(path) for path in part.glob("*.safetensors")}
    if found:
        return found
    pickles = sorted(path.name for kind in ("*.bin", "*.ckpt", "*.pt") for path in part.glob(kind))
    if pickles:
        raise ValueError(
            f"{part}: its weights are a pickle ({pickles[0]}), which may run any code when it is opened; expected"
            " .safetensors. Download that version of the model, or convert it where you trust it: load it with"
            " diffusers and call save_pretrained(FOLDER)"
        )
    raise FileNotFoundError(
        f"{part}: no weights; expected a .safetensors file (model or diffusion_pytorch_model) beside config.json"
    )


def count_numbers(part: Path, variant: str | None) -> int:
    """How many floating-point numbers the files of a variant hold; the plain ones where it has none of that variant.

    Raises ValueError for a file that is cut off or no safetensors file.
    """
    wanted = variant if variant in variants(part) else ""
    headers = (_header(path) for path in part.glob("*.safetensors") if _variant(path) == wanted)
    return sum(math.prod(tensor["shape"]) for header in headers for tensor in _tensors(header) if _is_float(tensor))


def _variant(path: Path) -> str:
    """NAME.VARIANT.safetensors, or of a shard NAME.VARIANT-00001-of-00002.safetensors."""
    return path.stem.partition("-")[0].partition(".")[2]


def _header(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(min(length, path.stat().st_size)))
        end = 8 + length + max((tensor["data_offsets"][1] for tensor in _tensors(header)), default=0)
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: no safetensors file, or a damaged one; copy or download it again") from error
    if end != path.stat().st_size:
        raise ValueError(
            f"{path}: has {path.stat().st_size} bytes; expected {end}, as its header says. It was cut off: copy or"
            " download it again"
        )
    return header


def _tensors(header: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (tensor for name, tensor in header.items() if name != "__metadata__")


def _is_float(tensor: dict[str, Any]) -> bool:
    return str(tensor["dtype"]).startswith(("F", "BF"))
