"""A scene is a function of seed and index; a fifth of the combinations is kept from every training."""

from __future__ import annotations

from models.mini.scene import ATTRIBUTES, combinations, is_held_out
from tests.models.mini.drawn import scene


def test_a_scene_is_a_function_of_seed_and_index() -> None:
    forwards, backwards = [scene(i) for i in range(20)], [scene(i) for i in reversed(range(20))]
    assert forwards == backwards[::-1]
    assert len({*forwards}) == 20 and scene(0, seed=1) != forwards[0]


def test_attributes_lie_where_they_say() -> None:
    for index in range(200):
        drawn = scene(index)
        x, y = drawn.centre[0] - 16, drawn.centre[1] - 16
        where = {"left": -x, "right": x, "top": -y, "bottom": y}
        expected = max(where, key=lambda name: where[name]) if max(where.values()) > 3 else "centre"
        assert (drawn.position, drawn.size) == (expected, "large" if drawn.radius > 6.5 else "small")


def test_held_out_combinations_are_a_fifth_and_never_seen_in_training() -> None:
    held_out = {c for c in combinations() if is_held_out(c)}
    assert 0.15 < len(held_out) / len(combinations()) < 0.25
    for attribute, values in enumerate(ATTRIBUTES.values()):  # nothing is unknown, only together
        assert {c[attribute] for c in held_out} == {*values}
        assert {c[attribute] for c in {*combinations()} - held_out} == {*values}
    for index in range(300):
        assert tuple(scene(index).attributes.values()) not in held_out
        assert tuple(scene(index, held_out=True).attributes.values()) in held_out
