"""Captioned pictures are told by the files within their folder."""

from __future__ import annotations

from tasks.sections import Coco


def test_where_a_data_set_lies_is_no_part_of_it() -> None:
    here, bare = Coco(path="/data", images="mine"), Coco(images="mine")
    assert here.within() == bare != here and here.identity() == bare.identity()
