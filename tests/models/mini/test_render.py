"""A picture is a function of its scene: two colours, and their mixtures at the edge alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.mini.render import CANVAS, RGB, render
from models.mini.scene import Scene
from tests.models.mini.drawn import scene, scenes


@settings(max_examples=50)
@given(scenes)
def test_a_picture_is_a_function_of_its_scene(drawn: Scene) -> None:
    first, again = render(drawn), render(Scene(**vars(drawn)))
    assert (first.dtype, first.shape) == (np.uint8, (CANVAS, CANVAS, 3))
    assert first.tobytes() == again.tobytes()


@settings(max_examples=60)
@given(st.builds(scene, st.integers(0, 2**32)))
def test_a_picture_holds_the_two_colours_and_their_mixtures_at_the_edge_alone(drawn: Scene) -> None:
    colour, ground = np.clip(np.array(RGB[drawn.colour]) + drawn.tint, 0, 1), np.array(RGB[drawn.background])
    pixels = render(drawn).reshape(-1, 3) / 255
    # Least squares of pixel = share * colour + (1 - share) * ground.
    share = (pixels - ground) @ (colour - ground) / np.square(colour - ground).sum()
    mixed = share[:, None] * colour + (1 - share[:, None]) * ground
    assert np.abs(mixed - pixels).max() < 1.5 / 255
    inside, edge = (share > 0.99).sum(), ((share > 0.02) & (share < 0.98)).sum()
    assert inside > 10 and edge > 0, "antialiased: pixels that the outline cuts are mixtures"
    assert (share < 0.01).sum() > CANVAS * CANVAS / 3


def test_antialiasing_tells_positions_within_a_pixel_apart() -> None:
    drawn = vars(scene(0))
    pictures = {render(Scene(**{**drawn, "centre": (16 + shift / 4, 16.0)})).tobytes() for shift in range(4)}
    assert len(pictures) == 4
