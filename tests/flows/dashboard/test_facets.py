"""Lists by what their lines have in common."""

from __future__ import annotations

from flows.dashboard.facets import AT_MOST, facet


def test_each_value_has_its_lines_in_their_order() -> None:
    found = facet("parity", "by", [1, 2, 3, 4, 5], lambda number: None if number == 3 else str(number % 2))
    assert [(one.name, one.path, one.items, one.count) for one in found.values] == [
        ("1", "by-1.html", [1, 5], 2),
        ("0", "by-0.html", [2, 4], 2),
    ]


def test_the_number_of_values_is_bounded() -> None:
    found = facet("all", "by", [*range(AT_MOST + 3)], str)
    assert len(found.values) == AT_MOST and found.left_out == 3
