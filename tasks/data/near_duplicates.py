"""Prompts that nearly say the same, by MinHash and locality-sensitive hashing (Broder 1997; Indyk and Motwani 1998).

Signatures are datasketch's. Its own index keeps 3.4 kB a prompt in dictionaries, 16 GB for 4.8 M; here the bands are
columns of numbers, 72 bytes a prompt in a file, for all prompts are known before the first question is asked.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from hashlib import blake2b
from itertools import islice
from tempfile import TemporaryFile

import numpy as np
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

from tasks.data.prompt_text import folded

PERMUTATIONS = 128
LETTERS = 4
"""Two prompts are compared by the sets of their runs of so many letters, spaces and punctuation aside."""
_CHUNK = 2048


def near_duplicates(
    prompts: Iterable[str], similarity: float, told: Callable[[int], None] = lambda count: None
) -> NDArray[np.bool_]:
    """Whether a prompt nearly repeats an earlier one, [N]: shares a band, so that the first of its kind stays.

    Two prompts of Jaccard similarity `similarity` share one about every second time, much more similar ones nearly
    always. What is said of a prompt depends on it and on those before it alone. ``told`` hears of every chunk done.
    """
    with TemporaryFile() as file:  # a column at a time is held, not all of them
        count = sum(file.write(numbers) for numbers in _bands(prompts, similarity, told))
        bands = np.memmap(file, np.uint64, "r").reshape(-1, _shape(similarity)[0]) if count else np.empty((0, 0))
        repeated = np.zeros(len(bands), bool)
        for band in bands.T:
            order = np.argsort(band, kind="stable")
            ordered = band[order]
            repeated[order[1:][ordered[1:] == ordered[:-1]]] = True
    return repeated


def _bands(prompts: Iterable[str], similarity: float, told: Callable[[int], None]) -> Iterator[bytes]:
    """The signatures' bands as one number each, uint64 [chunk, bands], a chunk at a time."""
    count, length = _shape(similarity)
    every = iter(prompts)
    while chunk := [*islice(every, _CHUNK)]:
        runs = map(_runs, chunk)
        made = MinHash.generator(runs, num_perm=PERMUTATIONS, hashfunc=zlib.crc32, scheme="affine32", seed=1)
        bands = [one.hashvalues[: count * length].reshape(count, length) for one in made]
        yield b"".join(blake2b(band.tobytes(), digest_size=8).digest() for one in bands for band in one)
        told(len(bands))


def _runs(prompt: str) -> list[bytes]:
    text = folded(prompt)
    return [text[at : at + LETTERS].encode() for at in range(max(1, len(text) - LETTERS + 1))]


@cache
def _shape(similarity: float) -> tuple[int, int]:
    """Bands, and hashes in each, that tell best at this similarity."""
    index = MinHashLSH(threshold=similarity, num_perm=PERMUTATIONS)
    return index.b, index.r
