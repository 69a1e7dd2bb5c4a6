"""How a stage says how far it is."""

from __future__ import annotations

import sys
from typing import Protocol


class Progress(Protocol):
    """Called after each piece of work: `done` of `total` pieces called `unit` ("pairs") are there.

    A stage calls it before its first piece, too: what was there already counts for nothing in its speed.
    """

    def __call__(self, done: int, total: int, unit: str) -> None: ...


def silent(done: int, total: int, unit: str) -> None:
    """A Progress that shows nothing."""


def say(text: str) -> None:
    """Tell whoever looks on something beside the progress."""
    print(text, file=sys.stderr, flush=True)
