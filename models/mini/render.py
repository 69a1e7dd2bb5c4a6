"""The renderer: a scene as a 32x32 RGB picture, antialiased by 4x4 supersampling."""

import numpy as np
from numpy.typing import NDArray

from models.mini.scene import Scene

CANVAS = 32
SUPERSAMPLING = 4

RGB = {
    "red": (0.86, 0.12, 0.12),
    "orange": (0.96, 0.52, 0.08),
    "yellow": (0.95, 0.87, 0.15),
    "green": (0.12, 0.62, 0.22),
    "blue": (0.14, 0.30, 0.88),
    "purple": (0.55, 0.18, 0.68),
    "black": (0.04, 0.04, 0.04),
    "white": (0.97, 0.97, 0.97),
    "gray": (0.50, 0.50, 0.50),
    "pink": (0.97, 0.72, 0.78),
}

Grid = NDArray[np.float64]
Mask = NDArray[np.bool_]


def _polygon(u: Grid, v: Grid, corners: int, inner: float) -> Mask:
    """A regular star polygon of outer radius 1; ``inner`` is the distance of its notches (or edge midpoints)."""
    half = np.pi / corners
    angle = np.abs((np.arctan2(u, -v) + half) % (2 * half) - half)
    radius = np.hypot(u, v)
    # Inside the straight edge from the tip (1 at angle 0) to the notch (inner at angle half).
    tip, notch = np.array([1.0, 0.0]), inner * np.array([np.cos(half), np.sin(half)])
    edge = notch - tip
    x, y = radius * np.cos(angle) - tip[0], radius * np.sin(angle) - tip[1]
    return (
        edge[0] * y - edge[1] * x <= 0 if edge[0] * -tip[1] - edge[1] * -tip[0] <= 0 else edge[0] * y - edge[1] * x >= 0
    )


def _inside(shape: str, u: Grid, v: Grid) -> Mask:
    """Which points of the unit frame (x right, y down) the shape covers."""
    if shape == "circle":
        return np.hypot(u, v) <= 0.95
    if shape == "ring":
        return np.abs(np.hypot(u, v) - 0.74) <= 0.24
    if shape == "square":
        return np.maximum(abs(u), abs(v)) <= 0.84
    if shape == "cross":
        return (np.minimum(abs(u), abs(v)) <= 0.28) & (np.maximum(abs(u), abs(v)) <= 0.95)
    corners, inner = {"triangle": (3, 0.5), "star": (5, 0.42)}[shape]
    return _polygon(u / 1.1, v / 1.1, corners, inner)


def render(scene: Scene) -> NDArray[np.uint8]:
    """Draw a scene. Returns uint8 [32, 32, 3]; equal scenes give equal bytes."""
    step = 1 / SUPERSAMPLING
    axis = np.arange(step / 2, CANVAS, step)
    x, y = np.meshgrid(axis - scene.centre[0], axis - scene.centre[1])
    cos, sin = np.cos(scene.angle), np.sin(scene.angle)
    u, v = (cos * x + sin * y) / scene.radius, (cos * y - sin * x) / scene.radius
    covered = _inside(scene.shape, u, v).astype(np.float64)
    alpha = covered.reshape(CANVAS, SUPERSAMPLING, CANVAS, SUPERSAMPLING).mean(axis=(1, 3))[..., None]
    colour = np.clip(np.array(RGB[scene.colour]) + scene.tint, 0, 1)
    picture = alpha * colour + (1 - alpha) * np.array(RGB[scene.background])
    return np.round(picture * 255).astype(np.uint8)
