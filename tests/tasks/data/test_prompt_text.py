"""What counts as the same prompt, and the order that a seed gives to all prompts."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.prompt_text import folded, normalise, order, order_key


@given(st.text())
def test_normal_form_is_stable_and_folds_white_space(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once == once.strip() == unicodedata.normalize("NFC", once)
    assert not re.search(r"\s\s|[\t\n\r]", once)
    assert normalise(f"  {text}\n") == once


@pytest.mark.parametrize(
    "texts",
    [
        ("A red ring.", "a  RED ring", "a red-ring!", "“A red ring”"),
        ("Don't stop", "DON\u2019T STOP", "dont stop"),
        ("caf\u00e9", "cafe\u0301", "CAFE\u0301"),
        ("stra\u00dfe", "STRASSE"),
        ("\uff21\uff22\uff23", "abc"),
    ],
)
def test_case_spaces_and_punctuation_do_not_matter(texts: tuple[str, ...]) -> None:
    assert len({folded(text) for text in texts}) == 1


@pytest.mark.parametrize(
    "texts",
    [
        ("a cat", "a bat"),
        ("\u0915\u093f", "\u0915\u0940"),  # vowel signs of Devanagari are marks, not letters
        ("I love you", "I \u2764 you"),
        ("1 + 1", "1 = 1"),
        ("...", "!!!"),
    ],
)
def test_everything_else_does(texts: tuple[str, ...]) -> None:
    assert len({folded(text) for text in texts}) == len(texts)


@given(st.text(min_size=1))
def test_nothing_folds_to_nothing(text: str) -> None:
    assert folded(text)
    assert folded(normalise(text)) == folded(text) or not normalise(text) or not re.search(r"\w", text)


def test_the_order_is_a_function_of_seed_and_text() -> None:
    one, other = order_key(0), order_key(1)
    assert order("a", one) == order("a", one) != order("a", other) != order("b", other)
    assert order("a", one) == 18_067_703_518_833_130_703, "a sample that was drawn is drawn again by every version"
    places = sorted(order(str(n), one) / 2**64 for n in range(2000))
    assert max(abs(place - n / 2000) for n, place in enumerate(places)) < 0.04, "evenly spread"
    assert 0 <= order("\ud800", one) < 2**64, "half a character is no traceback"
