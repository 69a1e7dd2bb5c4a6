"""What a training shows while it runs, in the store beside its checkpoints; and the rules that end it early.

`checkpoints/PHASE/curve.parquet` is the curve so far, `glances.parquet` how the average of the weights drew a few
pairs, `glance.webp` the last of these drawings. They are nobody's input: an artifact is the same with and without.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from infra.artifact import Draft
from infra.errors import UserError
from tasks.sections import Training
from tasks.stages import CURVE_FILE, GLANCE_FILE, GLANCES_FILE
from tasks.train import ranks
from tasks.train.curves import write_curve
from tasks.train.fit import CurvePoint, Fit, Loss
from tasks.train.glance import Look
from tasks.train.rules import broken

EVERY_S = 60.0
"""The curve is written again after so long."""
_GLANCES = pa.schema([("step", pa.int64()), ("distance_to_own_teacher", pa.float64()), ("straightness", pa.float64())])


class Seen(NamedTuple):
    """The numbers of a glance."""

    step: int
    distance_to_own_teacher: float
    straightness: float | None


class Live:
    """Follows the training of one phase. ``look`` draws with what is in the network at that moment."""

    def __init__(
        self, config: Training, phase: str, out: Draft, look: Look, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.config, self.phase, self.out, self.look, self.clock = config, phase, out, look, clock
        self.folder = f"{out.place}/checkpoints/{phase}"
        self.glances: list[Seen] = []
        self._written_s = clock()

    def resume(self, training: Fit) -> None:
        """Go on from what was seen up to this step. Raises UserError where that breaks a rule already, StoreError."""
        looks = self.config.evaluate_every_steps is not None
        found = self._read(training.step) if looks and ranks.is_first() else None
        self.glances = ranks.told(found) or []
        if wrong := self._wrong(training):
            raise UserError(wrong)

    def after(self, training: Fit, loss: Loss) -> str | None:
        """Look, and write down, where it is time; what ends the training, in words. Raises UserError, StoreError."""
        every, has_point = self.config.evaluate_every_steps, training.has_new_point
        looks = every is not None and training.step % every == 0
        if looks:
            self._look(training, loss)
        if ranks.is_first() and has_point and self.clock() - self._written_s >= EVERY_S:
            self._write(training)
        return self._wrong(training) if looks or has_point else None

    def _write(self, training: Fit) -> None:
        self._written_s = self.clock()
        with tempfile.TemporaryDirectory() as folder:
            self.out.store.upload(
                write_curve(Path(folder) / CURVE_FILE, [training.curve]), f"{self.folder}/{CURVE_FILE}"
            )

    def _wrong(self, training: Fit) -> str | None:
        """Which rule the numbers break, and what to do about it."""
        for name, rule in self.config.stop_if.told().items():
            if words := broken(rule, self._values(name, training.curve)):
                return (
                    f"{self.out.stage}: stopped by stop_if at step {training.step} of {self.phase}: {name} {words}"
                    f" (rule {rule!r}). Its checkpoints are kept: change the recipe, or stop_if to go on from them."
                )
        return None

    def _values(self, name: str, curve: Sequence[CurvePoint]) -> list[float]:
        if name in CurvePoint._fields:
            return [getattr(point, name) for point in curve]
        return [value for seen in self.glances if (value := getattr(seen, name)) is not None]

    def _look(self, training: Fit, loss: Loss) -> None:
        """Every rank draws, for what they share has to be asked of all; the first one's numbers are everybody's."""
        found = training.with_average(loss, self.look)
        seen = Seen(training.step, found.distance_to_own_teacher, found.straightness)
        self.glances.append(ranks.told(seen) or seen)
        if ranks.is_first():
            table = pa.Table.from_pylist([one._asdict() for one in self.glances], _GLANCES)
            pq.write_table(table, sink := pa.BufferOutputStream())
            self.out.store.write(f"{self.folder}/{GLANCES_FILE}", sink.getvalue().to_pybytes())
            self.out.store.write(f"{self.folder}/{GLANCE_FILE}", found.sheet)

    def _read(self, step: int) -> list[Seen]:
        try:
            data = self.out.store.read(f"{self.folder}/{GLANCES_FILE}")
            rows = pq.read_table(pa.BufferReader(data), schema=_GLANCES).to_pylist()
        except (FileNotFoundError, pa.ArrowException):
            return []
        return [Seen(**row) for row in rows if row["step"] <= step]
