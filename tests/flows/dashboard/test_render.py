"""What the filters of the templates say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flows.dashboard.render import clip, facts, hours, paged, span, time_tag, value_text


def test_a_long_text_is_cut_and_says_how_long_it_was() -> None:
    assert clip("short") == "short" and clip("x" * 500) == "x" * 400 + " … (500 characters)"


def test_a_moment_is_told_to_the_minute_and_to_machines() -> None:
    told = '<time datetime="2026-11-22T05:30:59+00:00">2026-11-22 05:30</time>'
    assert time_tag("2026-11-22T05:30:59.123+00:00") == told
    assert time_tag(datetime(2026, 11, 22, 5, 30, 59, tzinfo=UTC)) == told and time_tag(None) == ""


def test_what_is_no_moment_is_text() -> None:
    assert time_tag("<script>") == "&lt;script&gt;"


def test_values_are_told_as_json() -> None:
    assert [*map(value_text, ["l2", 0.5, None, [1], {"a": True}])] == ["l2", "0.5", "null", "[1]", '{"a": true}']
    assert hours(7200) == "2 h" and hours(90) == "1 min 30 s" and span(None) == "" and span(90) == "1 min 30 s"
    assert facts({"host": "node-1", "torch": "2.13"}) == "host node-1, torch 2.13"


@pytest.mark.parametrize(("count", "sizes"), [(0, [0]), (3, [3]), (7, [3, 3, 1])])
def test_a_list_is_cut_into_pages(count: int, sizes: list[int]) -> None:
    pages = paged([*range(count)], "runs", 3)
    assert [len(page.items) for page in pages] == sizes and {page.total for page in pages} == {count}
    assert [page.path for page in pages] == ["runs.html", "runs~2.html", "runs~3.html"][: len(sizes)]
    assert [one for page in pages for one in page.items] == [*range(count)]
