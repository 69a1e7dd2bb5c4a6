"""Pictures of evaluations, a strip for each model: the same noise and prompt at each place, whatever drew them."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from PIL import Image

from flows.observed.evaluations import Evaluation
from flows.page_names import slug
from infra.artifact.manifest import FileRecord
from infra.store import StoreError
from tasks.data.strip import side_by_side
from tasks.evaluate.cells import Cell

COLUMNS = 8
"""Pictures of a strip."""
_LENGTH_BYTES = 8
_LARGEST_HEADER = 1 << 20


def strip_path(evaluation: Evaluation, cell: Cell, file: FileRecord) -> str:
    """Where the strip lies; the name says all that the bytes depend on."""
    return f"pictures/{file.sha256[:16]}-{slug(cell.name)}.webp"


def prompts(evaluation: Evaluation) -> list[str]:
    """The prompts of the columns; none where they cannot be read. Raises StoreError."""
    try:
        (file,) = evaluation.artifact.files("contact.json")
        told = json.loads(evaluation.artifact.store.read(f"{evaluation.base}/{file.path}"))["prompts"]
        return [str(prompt) for prompt in told[:COLUMNS]]
    except StoreError:
        raise
    except (ValueError, LookupError, TypeError, FileNotFoundError):
        return []


def draw_strip(evaluation: Evaluation, cell: Cell, file: FileRecord) -> bytes | None:
    """The first pictures of a cell as one WebP; None where the file does not hold them. Raises StoreError."""
    try:
        pictures = _pictures(evaluation, f"{evaluation.base}/{file.path}", cell.name)
    except StoreError:
        raise
    except (ValueError, LookupError, TypeError, FileNotFoundError):
        return None
    return side_by_side([Image.fromarray(picture) for picture in pictures])


def _pictures(evaluation: Evaluation, path: str, name: str) -> Any:
    """uint8 [n, H, W, 3]: only the bytes of the first n are read. Raises ValueError for another format."""
    store = evaluation.artifact.store
    length = int.from_bytes(store.read_range(path, 0, _LENGTH_BYTES), "little")
    if not 0 < length < _LARGEST_HEADER:
        raise ValueError(f"{path}: a header of {length} bytes")
    told = json.loads(store.read_range(path, _LENGTH_BYTES, _LENGTH_BYTES + length))[name]
    (count, *shape), start = told["shape"], _LENGTH_BYTES + length + told["data_offsets"][0]
    if told["dtype"] != "U8" or len(shape) != 3 or shape[0] != 3:
        raise ValueError(f"{path}: {told['dtype']} {told['shape']} is no list of pictures")
    count = min(count, COLUMNS)
    data = store.read_range(path, start, start + count * math.prod(shape))
    return np.frombuffer(data, np.uint8).reshape(count, *shape).transpose(0, 2, 3, 1)
