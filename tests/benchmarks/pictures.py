"""Reading, turning, cutting and resizing photographs for the evaluation: on all threads and on one."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from models.parallel import threads
from models.resizing import Resize
from tasks.data.picture_batches import picture_batches
from tests.benchmarks.row import Options, Row, at_least, spread

ROUNDS, COUNT, BATCH, SIZE = 5, 128, 32, (640, 480)
LEAST_OF_LINEAR = 0.7
"""What is left of the cores when their threads also stack, and wait for one another."""


def measure(options: Options) -> list[Row]:
    """Pictures per second as the evaluation reads them; the two in turns, so that both meet the same machine."""
    with tempfile.TemporaryDirectory(prefix="instaflow-bench-") as folder:
        paths = _photographs(Path(folder))
        _rate(paths, threads())  # the files come into the page cache
        together, alone = [], []
        for _ in range(ROUNDS):
            together.append(_rate(paths, threads()))
            alone.append(_rate(paths, 1))
    gains = [many / one for many, one in zip(together, alone, strict=True)]
    how = (
        f"{threads()} threads {spread(together)}, one {spread(alone)} pictures/s; JPEG {SIZE[0]}x{SIZE[1]} to 512 px, "
        f"Lanczos; median of {ROUNDS} (range)"
    )
    return [at_least("pictures read and resized, times one thread", gains, LEAST_OF_LINEAR * threads(), how)]


def _photographs(folder: Path) -> list[Path]:
    """JPEGs as large and as smooth as MS COCO's."""
    rng, paths = np.random.default_rng(0), [folder / f"{number:04d}.jpg" for number in range(COUNT)]
    for path in paths:
        coarse = Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8))
        coarse.resize(SIZE, Image.Resampling.BICUBIC).save(path, quality=92)
    return paths


def _rate(paths: list[Path], workers: int) -> float:
    started = time.perf_counter()
    count = sum(len(batch) for batch in picture_batches(paths, Resize(512), BATCH, workers))
    return count / (time.perf_counter() - started)
