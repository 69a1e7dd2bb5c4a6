"""The smallest hashes of a set of rows, whatever the order in which the rows come."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data import prompt_sample as module
from tasks.data.prompt_sample import Smallest, from_tensor, to_tensor

Row = tuple[int, str, int, int]
ROWS = st.lists(st.tuples(st.integers(0, 12), st.sampled_from("ab"), st.integers(0, 2), st.integers(0, 9)), max_size=40)


def sampled(rows: list[Row], limit: int) -> list[dict[str, object]]:
    with TemporaryDirectory() as folder:
        return _sampled(Smallest(limit, Path(folder) / "sample.arrow"), rows)


def _sampled(sample: Smallest, rows: list[Row]) -> list[dict[str, object]]:
    for place, prompt, file, row in rows:
        if place < sample.above:
            sample.add([place], [prompt], file, [row])
    return sample.table.to_pylist()


@settings(max_examples=40, deadline=None)
@given(ROWS, st.integers(1, 8), st.randoms())
def test_it_is_a_function_of_the_set_of_rows(rows: list[Row], limit: int, chance: random.Random) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_AT_LEAST", chance.choice((1, 3, 100)))
        patch.setattr(module, "_AT_MOST", chance.choice((2, 100)))
        patch.setattr(module, "_ROWS", chance.choice((1, 2, 5, 100)))
        found = sampled(rows, limit)
        assert found == sampled(chance.sample(rows, len(rows)), limit)
    copies = Counter(place for place, *_ in rows)
    expected = [min(row for row in rows if row[0] == place) for place in sorted(copies)[:limit]]
    assert [(one["hash"], one["prompt"], one["file"], one["row"]) for one in found] == expected
    assert [one["copies"] for one in found] == [copies[place] for place, *_ in expected]


def test_it_goes_on_from_what_it_was(tmp_path: Path) -> None:
    chance = random.Random(0)
    rows = [(chance.randrange(2**64), f"prompt {n}", n % 3, n) for n in range(300)]
    first = Smallest(20, tmp_path / "first.arrow")
    for place, prompt, file, row in rows[:150]:
        first.add([place], [prompt], file, [row])
    from_tensor(to_tensor(first), tmp_path / "again.arrow")
    again = Smallest(20, tmp_path / "again.arrow")
    assert again.above == first.above < 2**64 and again.table.equals(first.table)
    for place, prompt, file, row in rows[150:]:
        again.add([place], [prompt], file, [row])
    assert again.table.to_pylist() == sampled(rows, 20)


def test_it_says_when_there_may_be_more(tmp_path: Path) -> None:
    sample = Smallest(2, tmp_path / "sample.arrow")
    assert not sample.full and sample.above == 2**64
    sample.add([5, 5], ["a", "a"], 0, [1, 2])
    assert not sample.full and sample.above == 2**64
    sample.add([2**64 - 1], ["b"], 0, [3])
    assert sample.full and sample.above == 2**64
    sample.add([7], ["c"], 0, [4])
    assert len(sample.table) == 2 and sample.above == 8
