"""The miniature world's scenes: five attributes, a little jitter, everything a function of (seed, index)."""

import functools
import zlib
from dataclasses import dataclass
from itertools import product

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple")
SIZES = ("small", "large")
BACKGROUNDS = ("black", "white", "gray", "pink")
POSITIONS = ("centre", "left", "right", "top", "bottom")

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": COLOURS,
    "size": SIZES,
    "background": BACKGROUNDS,
    "position": POSITIONS,
}


@dataclass(frozen=True)
class Scene:
    """One shape on a plain background; the jitters are what no caption mentions and the noise has to decide.

    ``radius`` is in pixels of the 32-pixel canvas, ``centre`` likewise (x, y), ``angle`` in radians,
    ``tint`` is added to the RGB colour (0..1).
    """

    shape: str
    colour: str
    size: str
    background: str
    position: str
    radius: float
    centre: tuple[float, float]
    angle: float
    tint: tuple[float, float, float]

    @property
    def attributes(self) -> dict[str, str]:
        """The five named attributes, e.g. ``{"shape": "ring", "colour": "red", ...}``."""
        return {name: getattr(self, name) for name in ATTRIBUTES}


def combinations() -> list[tuple[str, ...]]:
    """All (shape, colour, size, background, position) combinations, in a fixed order."""
    return list(product(*ATTRIBUTES.values()))


def is_held_out(combination: tuple[str, ...]) -> bool:
    """Whether a combination is kept from every training: one in five, by a hash that never changes."""
    return zlib.crc32(" ".join(combination).encode()) % 5 == 0


def generator(seed: int, index: int) -> np.random.Generator:
    """The random generator of sample ``index``: independent of every other sample's."""
    return np.random.Generator(np.random.PCG64([seed, index]))


@functools.cache  # hashing them all costs more than a scene
def _choices(held_out: bool) -> list[tuple[str, ...]]:
    return [c for c in combinations() if is_held_out(c) == held_out]


def draw_scene(rng: np.random.Generator, held_out: bool) -> Scene:
    """Draw one scene from the training combinations, or from the held-out ones."""
    choices = _choices(held_out)
    shape, colour, size, background, position = choices[rng.integers(len(choices))]
    radius = {"small": 4.6, "large": 8.2}[size] + rng.uniform(-0.5, 0.5)
    x, y = {"centre": (0, 0), "left": (-6.8, 0), "right": (6.8, 0), "top": (0, -6.8), "bottom": (0, 6.8)}[position]
    centre = (16 + x + rng.uniform(-1, 1), 16 + y + rng.uniform(-1, 1))
    tint = rng.uniform(-0.06, 0.06, size=3)
    return Scene(
        shape,
        colour,
        size,
        background,
        position,
        radius,
        centre,
        rng.uniform(-0.25, 0.25),
        (float(tint[0]), float(tint[1]), float(tint[2])),
    )
