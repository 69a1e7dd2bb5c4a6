"""How fast pictures are drawn: prompt in, uint8 picture out, the models taking turns.

A machine is not equally fast at all times. Each round times every model once, after a warm-up, so that a slow minute
is everybody's; the median over the rounds counts, its spread stands beside it.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from tasks.evaluate.cells import LATENCY_ROUNDS

RATE_ROUNDS = 3

Draw = Callable[[Sequence[str]], object]
"""Draws a picture of each prompt; what a server pays once (a solver's table, the empty prompt) has been paid."""


def latencies(draws: Mapping[str, Draw], prompts: Sequence[str], told: Callable[[int], object]) -> dict[str, Tensor]:
    """Seconds for one picture by name, [LATENCY_ROUNDS]; ``told`` of each round."""
    found: dict[str, list[float]] = {name: [] for name in draws}
    for draw in draws.values():
        draw(prompts[:1])
    for number in range(LATENCY_ROUNDS):
        for name, draw in draws.items():
            found[name].append(_seconds(draw, [prompts[number % len(prompts)]]))
        told(1)
    return {name: torch.tensor(seconds, dtype=torch.float64) for name, seconds in found.items()}


def rates(draws: Mapping[str, Draw], prompts: Sequence[str], sizes: Sequence[int]) -> dict[str, Tensor]:
    """Pictures per second by name at the batch size that is best by its median, [RATE_ROUNDS]."""
    best: dict[str, Tensor] = {}
    for size in sizes:
        batch = [prompts[i % len(prompts)] for i in range(size)]
        for draw in draws.values():
            draw(batch)
        rounds = [[size / _seconds(draw, batch) for draw in draws.values()] for _ in range(RATE_ROUNDS)]
        for name, rate in zip(draws, zip(*rounds, strict=True), strict=True):
            found = torch.tensor(rate, dtype=torch.float64)
            best[name] = max(found, best.get(name, found), key=lambda one: float(one.median()))
    return best


def _seconds(draw: Draw, prompts: Sequence[str]) -> float:
    started = time.perf_counter()
    draw(prompts)
    return time.perf_counter() - started
