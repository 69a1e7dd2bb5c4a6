"""How fast pictures are drawn: prompt in, uint8 picture out, the models taking turns.

A machine is not equally fast at all times. Each round times every model once, after a warm-up, so that a slow minute
is everybody's; the median over the rounds counts, its spread stands beside it.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from infra.errors import UserError
from tasks.evaluate.cells import LATENCY_ROUNDS
from tasks.progress import say

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
    """Pictures per second by name at the batch size that is best by its median, [RATE_ROUNDS].

    A size that does not fit into memory, of whatever model, is left out for all, said aloud. Raises UserError when none
    does.
    """
    best: dict[str, Tensor] = {}
    for size in sizes:
        batch = [prompts[i % len(prompts)] for i in range(size)]
        try:
            found = _rates(draws, batch)
        except torch.OutOfMemoryError:
            say(f"out of memory with {size} pictures at once (performance.throughput_batch_sizes): left out")
        else:
            best |= {name: max(rate, best.get(name, rate), key=_median) for name, rate in found.items()}
    if not best:
        raise UserError(f"performance.throughput_batch_sizes: out of memory with each of {[*sizes]}; lower them.")
    return best


def _rates(draws: Mapping[str, Draw], batch: Sequence[str]) -> dict[str, Tensor]:
    for draw in draws.values():
        draw(batch)
    rounds = [[len(batch) / _seconds(draw, batch) for draw in draws.values()] for _ in range(RATE_ROUNDS)]
    found = zip(*rounds, strict=True)
    return {name: torch.tensor(rate, dtype=torch.float64) for name, rate in zip(draws, found, strict=True)}


def _median(rates: Tensor) -> float:
    return float(rates.median())


def _seconds(draw: Draw, prompts: Sequence[str]) -> float:
    started = time.perf_counter()
    draw(prompts)
    return time.perf_counter() - started
