"""Scenes to test with."""

from __future__ import annotations

from hypothesis import strategies as st

from models.mini.scene import BACKGROUNDS, COLOURS, POSITIONS, SHAPES, SIZES, Scene, draw_scene, generator

scenes = st.builds(
    Scene,
    shape=st.sampled_from(SHAPES),
    colour=st.sampled_from(COLOURS),
    size=st.sampled_from(SIZES),
    background=st.sampled_from(BACKGROUNDS),
    position=st.sampled_from(POSITIONS),
    radius=st.floats(4.1, 8.7),
    centre=st.tuples(st.floats(11, 21), st.floats(11, 21)),
    angle=st.floats(-0.25, 0.25),
    tint=st.tuples(*[st.floats(-0.06, 0.06)] * 3),
)


def scene(index: int, held_out: bool = False, seed: int = 0) -> Scene:
    return draw_scene(generator(seed, index), held_out)
