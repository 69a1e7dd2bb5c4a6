"""Times are taken in turns after a warm-up, so that a slow minute is everybody's."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import pytest
import torch

from infra.errors import UserError
from tasks.evaluate.cells import LATENCY_ROUNDS
from tasks.evaluate.speed import RATE_ROUNDS, Draw, latencies, rates

PROMPTS = ["a red ring", "a blue star"]


def drawing(log: list[tuple[str, int]], name: str, seconds: float = 0.0) -> Draw:
    def draw(prompts: Sequence[str]) -> None:
        log.append((name, len(prompts)))
        time.sleep(seconds * len(prompts))

    return draw


def test_every_model_is_warmed_up_then_timed_in_turns_a_picture_each() -> None:
    log, told = list[tuple[str, int]](), list[int]()
    found = latencies({name: drawing(log, name) for name in "ab"}, PROMPTS, told.append)
    assert log == [("a", 1), ("b", 1)] * (1 + LATENCY_ROUNDS) and told == [1] * LATENCY_ROUNDS
    assert {name: one.shape for name, one in found.items()} == dict.fromkeys("ab", (LATENCY_ROUNDS,))


def test_a_latency_is_that_of_the_model() -> None:
    slow, fast = latencies({"a": drawing([], "a", 0.02), "b": drawing([], "b")}, PROMPTS, [].append).values()
    assert 0.02 <= slow.median() < 0.2 and fast.median() < 0.01


def test_the_best_batch_counts_for_each_model() -> None:
    log: list[tuple[str, int]] = []

    def slow_when_many(prompts: Sequence[str]) -> None:
        log.append(("b", len(prompts)))
        time.sleep(0.001 if len(prompts) == 1 else 0.1)

    draws = {"a": drawing(log, "a"), "b": slow_when_many}
    found = rates(draws, PROMPTS, (1, 3))
    assert log == [(name, size) for size in (1, 3) for _ in range(1 + RATE_ROUNDS) for name in "ab"]
    assert found["b"].median() > 100, "one at a time; three take a tenth of a second"
    assert torch.isfinite(torch.stack([*found.values()])).all() and found["a"].shape == (RATE_ROUNDS,)


def test_a_size_that_does_not_fit_is_left_out_for_all(capsys: pytest.CaptureFixture[str]) -> None:
    def small(prompts: Sequence[str]) -> None:
        if len(prompts) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    log: list[tuple[str, int]] = []
    found = rates({"a": drawing(log, "a", 0.001), "b": small}, PROMPTS, (4, 1, 2, 3))
    assert {*found} == {"a", "b"}
    drawn = Counter(size for _, size in log)
    assert drawn == {4: 1, 1: 1 + RATE_ROUNDS, 2: 1 + RATE_ROUNDS, 3: 1}, "nothing is timed that not all can draw"
    assert "with 4 pictures at once" in (said := capsys.readouterr().err) and "with 3 pictures" in said
    with pytest.raises(UserError, match=r"throughput_batch_sizes: out of memory with each of \[4, 3\]; lower them"):
        rates({"b": small}, PROMPTS, (4, 3))
