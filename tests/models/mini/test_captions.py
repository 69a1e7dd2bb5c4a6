"""Captions say what is true, often leave something open, and can be read back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.mini.captions import PHRASINGS, caption, mentioned
from models.mini.scene import ATTRIBUTES, Scene, generator
from tests.models.mini.drawn import scene, scenes


def test_captions_are_many_and_often_leave_something_open() -> None:
    texts = [caption(scene(i), generator(1, i)) for i in range(2000)]
    said = [len(mentioned(text)) for text in texts]
    assert len({*texts}) > 500
    assert min(said) <= 2 and max(said) == 5 and np.mean(np.array(said) < 5) > 0.5
    assert len(PHRASINGS) >= 4


@given(scenes, st.integers(0, 2**32))
def test_what_a_caption_mentions_is_true_and_can_be_read_back(drawn: Scene, seed: int) -> None:
    text = caption(drawn, np.random.default_rng(seed))
    read = mentioned(text)
    assert read.items() <= drawn.attributes.items()
    words = {*text.replace(",", "").split()}
    for values in ATTRIBUTES.values():  # no attribute's word is left unread, none is read that is not there
        assert words & {*values} == {*read.values()} & {*values}
    assert text == " ".join(text.split()) and ("an " in text) == (" an " in f" {text}")


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_value_is_said_and_read(name: str) -> None:
    read = [mentioned(caption(scene(i), generator(2, i))).get(name) for i in range(600)]
    assert {*read} == {None, *ATTRIBUTES[name]}
