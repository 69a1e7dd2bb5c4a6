"""Every family has a layout, whose fields are of its own components."""

from __future__ import annotations

from models.pipelines.layouts import LAYOUTS, Equal, Layout
from models.pipelines.opening import FAMILIES


def test_every_family_has_a_layout() -> None:
    assert LAYOUTS.keys() == FAMILIES.keys()


def test_a_layout_speaks_of_its_own_components() -> None:
    for name, layout in LAYOUTS.items():
        fields = [layout.side, *layout.only, *(one for equal in layout.equal for one in (equal.whole, *equal.parts))]
        assert {one.partition(".")[0] for one in fields} <= {*layout.networks, "scheduler"}, name
        assert {*layout.together} <= {*layout.networks, *layout.others}, name


def test_what_is_absent_has_to_agree_with_nothing() -> None:
    width, side = Equal("a.width", ("b.width", "c.width"), "width"), Equal("a.side", ("b.side",), "side")
    layout = Layout(("a", "b", "c"), ("d", "e"), "a.side", (width, side), {"a.kind": (None,)}, together=("c", "e"))
    left = layout.without(("c", "e"))
    assert (left.networks, left.others, left.equal) == (("a", "b"), ("d",), (side,))
    assert layout.without(()) == layout
