"""Prompts that nearly say the same: the first stays, whatever comes after."""

from __future__ import annotations

import random
import string

import numpy as np

from tasks.data.near_duplicates import near_duplicates


def words(chance: random.Random, count: int) -> list[str]:
    return ["".join(chance.choices(string.ascii_lowercase, k=chance.randint(3, 8))) for _ in range(count)]


def runs(text: str) -> set[str]:
    text = text.replace(" ", "")
    return {text[at : at + 4] for at in range(len(text) - 3)}


def test_the_first_of_its_kind_stays() -> None:
    prompts = [
        "Vintage 1967 Ford Mustang Fastback in candy apple red, front view, high resolution photo",
        "A lighthouse in a storm, oil on canvas",
        "vintage 1967 ford mustang fastback in candy apple red - front view - high resolution photos",
        "Vintage 1967 Ford Mustang Fastback in Candy Apple Red; Front View; High Resolution Photo 2",
        "A bowl of plums beside a window",
        "x",
        "y",
    ]
    assert near_duplicates(prompts, 0.8).tolist() == [False, False, True, True, False, False, False]
    assert not near_duplicates([prompts[2], *prompts[4:]], 0.8).any()
    assert near_duplicates([], 0.8).tolist() == []


def test_it_tells_by_the_similarity() -> None:
    """Of pairs with a known Jaccard similarity: hardly any far below the threshold is dropped, nearly all far above."""
    chance, dropped = random.Random(0), {}
    for changed in (1, 4, 12):
        found, near = [], []
        for _ in range(60):
            one = words(chance, 24)
            other = [*one]
            for place in chance.sample(range(24), changed):
                other[place] = words(chance, 1)[0]
            texts = " ".join(one), " ".join(other)
            near.append(len(runs(texts[0]) & runs(texts[1])) / len(runs(texts[0]) | runs(texts[1])))
            found.append(bool(near_duplicates(texts, 0.8)[1]))
        dropped[np.mean(near)] = np.mean(found)
    (high, most), (middle, some), (low, none) = dropped.items()
    assert high > 0.85 and most > 0.8
    assert 0.55 < middle < 0.72 and some < 0.25
    assert low < 0.35 and none == 0


def test_what_is_said_of_a_prompt_depends_on_those_before_it_alone() -> None:
    chance = random.Random(1)
    pool = words(chance, 12)
    prompts = [" ".join(chance.choices(pool, k=4)) for _ in range(5000)]
    told: list[int] = []
    every = near_duplicates(prompts, 0.8, told.append)
    assert 0.05 < every.mean() < 0.95 and sum(told) == 5000 and len(told) == 3
    assert np.array_equal(near_duplicates(prompts[:1700], 0.8), every[:1700])
