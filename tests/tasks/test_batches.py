"""What does not fit into memory goes through it in smaller parts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from infra.errors import UserError
from tasks.batches import Batches


def room_for(most: int, asked: list[int]) -> Callable[[range], list[int]]:
    def do(rows: range) -> list[int]:
        asked.append(len(rows))
        if len(rows) > most:
            raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB\nand more")
        return [*rows]

    return do


def test_as_many_at_once_as_told() -> None:
    asked: list[int] = []
    assert [*Batches(4)(range(3, 12), room_for(4, asked))] == [[3, 4, 5, 6], [7, 8, 9, 10], [11]]
    assert asked == [4, 4, 1]


def test_where_memory_does_not_suffice_half_as_many_from_then_on(capsys: pytest.CaptureFixture[str]) -> None:
    batches, asked = Batches(8), list[int]()
    assert sum(batches(range(10), room_for(3, asked)), []) == [*range(10)]
    assert asked == [8, 4, 2, 2, 2, 2, 2], "nothing is done twice"
    said = capsys.readouterr().err
    assert "with 8 samples at once; going on with 4" in said and "with 4 samples at once; going on with 2" in said
    assert [*batches(range(3), room_for(3, asked))] == [[0, 1], [2]], "it is remembered"


def test_what_never_fits_is_an_error() -> None:
    with pytest.raises(UserError, match=r"a single sample: Tried to allocate 2\.00 GiB\. Free the device"):
        [*Batches(2)(range(2), room_for(0, []))]
