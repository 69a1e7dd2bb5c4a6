"""The same work on two samples: what is counted is cut, all else is as it was told."""

from __future__ import annotations

from typing import Any, TypeVar

from infra.recipe import Section
from tasks.sections import Judging, PairsJob, PromptsJob

_S = TypeVar("_S", bound=Section)

_MOST = {
    "train_images": 4, "val_images": 8, "num_images": 2, "straightness_images": 2, "reflow_count": 2,
    "distill_count": 2, "samples": 2, "shard_size": 2, "batch_size": 2, "autoencoder_batch_size": 2,
    "reader_batch_size": 2, "sample_batch_size": 2, "throughput_batch_sizes": 2, "steps": 2, "teacher_steps": 1,
    "autoencoder_steps": 1, "reader_steps": 1, "warmup_steps": 1,
}  # fmt: skip
"""How much is left of each field that says how much work there is, in whichever section."""

_ANY_LATENT = 1e30


def rehearsed(config: _S) -> _S:
    """What a stage is told for its rehearsal.

    The prompts come from the grammar, since millions of lines may have to be read for the first two; latents may be of
    any size, since a network after two steps of training says nothing of the one after all of them. Of the real
    pictures a few are seen, and not a whole split.
    """
    update = {name: _cut(name, value) for name, value in config}
    if isinstance(config, PromptsJob):
        update |= {"source": "mini", "path": None}
    if isinstance(config, PairsJob):
        update["max_abs_latent"] = _ANY_LATENT
    if isinstance(config, Judging):
        update["real"] = "captions"
    return config.model_copy(update=update)


def _cut(name: str, value: Any) -> Any:
    if isinstance(value, Section):
        return rehearsed(value)
    if isinstance(value, tuple) and name in _MOST:  # numbers of steps, batch sizes
        return (min(*value, _MOST[name]),)
    if isinstance(value, tuple):
        return tuple(_cut("", item) for item in value)
    return min(value, _MOST[name]) if isinstance(value, int) and name in _MOST else value
