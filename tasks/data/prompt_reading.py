"""One pass over a source of prompts: what each row comes to, and how a killed pass goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import torch

from infra.artifact import Draft
from infra.artifact.checkpoint import Checkpoint, latest, save
from tasks.data.prompt_filters import filters, taken
from tasks.data.prompt_sample import Smallest, from_tensor, to_tensor
from tasks.data.prompt_sources import ROW, Piece
from tasks.data.prompt_text import folded, normalise, order, order_key
from tasks.sections import PromptsJob

SAVE_EVERY_S = 600.0
_REFUSALS = ("empty", "too_short", "too_long", "evaluation_caption")


@dataclass
class Reading:
    """A pass: the sample so far, how many rows were read and refused and why, and how many pieces are done."""

    config: PromptsJob
    excluded: frozenset[str]
    out: Draft
    sample: Smallest
    counts: dict[str, int]
    done: int = 0

    @classmethod
    def resumed(cls, config: PromptsJob, excluded: frozenset[str], out: Draft, limit: int) -> Reading:
        """The pass for `limit` candidates, from its latest checkpoint on if there is one."""
        path = out.workdir / f"{_phase(limit)}.arrow"
        path.unlink(missing_ok=True)
        names = ["read", *(one.name for one in filters(config)), *_REFUSALS]
        found = latest(out, {"fingerprint": out.fingerprint}, _phase(limit))
        if found is None:
            return cls(config, excluded, out, Smallest(limit, path), dict.fromkeys(names, 0))
        counts = dict(zip(names, found.tensors["counts"].tolist(), strict=True))
        from_tensor(found.tensors["sample"], path)
        return cls(config, excluded, out, Smallest(limit, path), counts, found.step)

    def read(self, pieces: Sequence[Piece], told: Callable[[float], None], enough: bool = False) -> None:
        """Read the pieces that are not done yet; with ``enough`` only until the sample is full.

        ``told`` hears after every table how much has been read, in the measure of the pieces' sizes. Between pieces
        there is a checkpoint, at most one in ten minutes.
        """
        before, saved_s = sum(piece.size for piece in pieces[: self.done]), time.monotonic()
        for piece in pieces[self.done :]:
            for table, share in piece.read():
                self._take(table, piece.file)
                told(before + piece.size * share)
                if enough and self.sample.full:
                    return
            before, self.done = before + piece.size, self.done + 1
            if time.monotonic() - saved_s >= SAVE_EVERY_S:
                self._save()
                saved_s = time.monotonic()

    def _take(self, table: pa.Table, file: int) -> None:
        self.counts["read"] += len(table)
        left, key, found = taken(self.config, table, self.counts), order_key(self.config.seed), list[_Found]()
        for text, row in zip(left.column(0).to_pylist(), left[ROW].to_pylist(), strict=True):
            prompt = normalise(text or "")
            fold = folded(prompt)
            if reason := self._refusal(prompt, fold):
                self.counts[reason] += 1
            elif (place := order(fold, key)) < self.sample.above:
                found.append((place, prompt, row))
        if found:
            places, prompts, rows = map(list, zip(*found, strict=True))
            self.sample.add(places, prompts, file, rows)

    def _refusal(self, prompt: str, fold: str) -> str | None:
        if not prompt:
            return "empty"
        if len(prompt) < self.config.min_characters:
            return "too_short"
        if len(prompt) > self.config.max_characters:
            return "too_long"
        return "evaluation_caption" if fold in self.excluded else None

    def _save(self) -> None:
        tensors = {"sample": to_tensor(self.sample), "counts": torch.tensor([*self.counts.values()])}
        layout = {"fingerprint": self.out.fingerprint}
        save(self.out, Checkpoint(self.done, tensors, layout, _phase(self.sample.limit)))


_Found = tuple[int, str, int]


def _phase(limit: int) -> str:
    return f"candidates-{limit}"
