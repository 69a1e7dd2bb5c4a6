"""Picture files as tensors, read and resized on a few threads, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.parallel import in_order
from models.resizing import Resize, resized
from tasks.data.pictures import read_picture


def read_image(path: Path, to: Resize | None = None) -> Tensor:
    """A picture as uint8 [3, H, W]; with `to`: its centre square, resized.

    Raises UserError for a missing file and for one that is no picture.
    """
    picture = read_picture(path)
    return torch.from_numpy(np.array(picture if to is None else resized(picture, to))).permute(2, 0, 1)


def picture_batches(paths: Sequence[Path], to: Resize, batch_size: int, workers: int | None = None) -> Iterator[Tensor]:
    """The pictures as uint8 [B, 3, size, size], each read once; the next are read while the caller works.

    No more than two pictures a thread are read ahead. Raises UserError as `read_image` does.
    """
    batch: list[Tensor] = []
    for picture in in_order(partial(read_image, to=to), paths, workers):
        batch.append(picture)
        if len(batch) == batch_size:
            yield torch.stack(batch)
            batch = []
    if batch:
        yield torch.stack(batch)
