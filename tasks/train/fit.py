"""One training loop for every trained stage: AdamW, warm-up, clipping, fp32 EMA, bitwise resume, several ranks."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from infra import stopping
from infra.artifact import Draft
from infra.artifact.checkpoint import Checkpoint, latest, save
from infra.artifact.tensor_file import help_write, whole
from infra.errors import UserError
from tasks.progress import say
from tasks.sections import Trained, Training
from tasks.stage import Work
from tasks.stages import Phase
from tasks.train import ranks
from tasks.train.together import gather, is_sharded, part, reduces_at_once, together, unreduced, within

LOG_EVERY_STEPS = 25
A = TypeVar("A")


@dataclass(frozen=True)
class FitPlan:
    """On what, how long and how fast to train. ``decay`` shapes the learning rate after the warm-up.

    ``phase`` names the training within its stage, ``data`` is the digest of what is trained on; there is a checkpoint
    every so many steps or minutes. A rank's share of a batch goes through the network in ``micro_batch_size`` samples
    at a time; None: at once. The defaults are those of the miniature world's own networks.
    """

    phase: str
    data: str
    steps: int
    batch_size: int
    learning_rate: float
    seed: int
    checkpoint_every_steps: int
    checkpoint_every_minutes: float
    warmup_steps: int
    ema_decay: float = 0.999
    gradient_clip: float = 1.0
    decay: Literal["constant", "cosine"] = "cosine"
    micro_batch_size: int | None = None

    @classmethod
    def of_own(
        cls, section: Trained, phase: Phase, data: str, learning_rate: float, seed: int, warmup_steps: int
    ) -> "FitPlan":
        """The plan of one of the miniature world's own networks."""
        return cls(
            phase=phase.name,
            data=data,
            steps=phase.steps,
            batch_size=phase.batch_size,
            learning_rate=learning_rate,
            seed=seed,
            checkpoint_every_steps=section.checkpoint_every_steps,
            checkpoint_every_minutes=section.checkpoint_every_minutes,
            warmup_steps=warmup_steps,
        )

    @classmethod
    def of(
        cls,
        section: Training,
        phase: Phase,
        data: str,
        learning_rate: float,
        seed: int,
        micro_batch_size: int | None = None,
    ) -> "FitPlan":
        """The plan of a recipe section that says how to train, for one of its phases."""
        return replace(
            cls.of_own(section, phase, data, learning_rate, seed, section.warmup_steps),
            ema_decay=section.ema_decay,
            gradient_clip=section.gradient_clip,
            decay=section.decay,
            micro_batch_size=micro_batch_size,
        )

    @property
    def parts(self) -> list[slice]:
        """The rows of a batch that go through this rank's network together. Raises UserError for unequal shares."""
        own, size = ranks.share(self.batch_size, ranks.rank(), ranks.count()), self.micro_batch_size or self.batch_size
        return [slice(start, min(start + size, own.stop)) for start in range(own.start, own.stop, size)]

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step: linear warm-up, then constant or a half cosine to zero."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        fall = 0.5 * (1 + math.cos(math.pi * step / self.steps)) if self.decay == "cosine" else 1.0
        return self.learning_rate * warm * fall

    def has_checkpoint(self, step: int) -> bool:
        """Whether the state after so many steps is kept whatever the time is."""
        return step % self.checkpoint_every_steps == 0 or step == self.steps


class CurvePoint(NamedTuple):
    """One row of a training curve (means over the last logged steps)."""

    step: int
    loss: float
    gradient_norm: float
    learning_rate: float


@dataclass(frozen=True)
class At:
    """Where a training stands when its loss is asked for: the step, and the average of the weights by name (fp32).

    A loss is a function of the step alone, unless its target is the average (`torch.func.functional_call`). It is the
    mean over the ``rows`` of the step's batch: what is drawn is drawn for the whole batch, and then cut.
    """

    step: int
    average: Mapping[str, Tensor]
    rows: slice


Loss = Callable[[At], Tensor]


class Watch(Protocol):
    """Follows a training while it runs."""

    def resume(self, training: "Fit") -> None:
        """Take up what was seen before this step. Raises UserError where that ends the training."""

    def after(self, training: "Fit", loss: "Loss") -> str | None:
        """Called after every step, on every rank alike; what ends the training, in words."""


class Fit:
    """A module in training, with its optimizer, its moving average and its curve."""

    def __init__(self, module: nn.Module, plan: FitPlan) -> None:
        self.module, self.plan, self.step = module, plan, 0
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        kept = {*module.state_dict()}  # running statistics of batch normalisation, where a network has any
        self.buffers = {name: b for name, b in module.named_buffers() if name in kept}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=plan.learning_rate, weight_decay=0.0, fused=True
        )
        # In bf16 an average of 0.9999 hardly moves: the EMA is fp32 whatever the module is.
        self.ema = {name: p.detach().float().clone() for name, p in self.parameters.items()}
        self.curve: list[CurvePoint] = []
        self._recent: list[Tensor] = []
        self._fits = False  # whether as many samples as go through the network at once have done so before

    def train(self, loss: Loss) -> None:
        """Do one step."""
        rate = self.plan.learning_rate_at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        value = self._backward(loss)
        norm = whole(nn.utils.clip_grad_norm_(self.parameters.values(), self.plan.gradient_clip))
        self._recent.append(torch.stack([value, norm.detach().float()]))
        self._refuse_non_finite()
        self.optimizer.step()
        self._average()
        self.step += 1
        if self.has_new_point:
            mean = torch.stack(self._recent).mean(0).tolist()
            self.curve.append(CurvePoint(self.step, mean[0], mean[1], rate))
            self._recent.clear()

    @property
    def has_new_point(self) -> bool:
        """Whether the curve has a point for the step that was done last."""
        return self.step % LOG_EVERY_STEPS == 0 or self.step == self.plan.steps

    def _backward(self, loss: Loss) -> Tensor:
        """The loss of the step's batch, its gradient summed up over parts that each weigh as many samples as they are.

        Only rounding depends on the parts and on the ranks, and dropout where a network has any. Raises UserError when
        not even one sample fits into memory.
        """
        values: list[Tensor] | None = None
        while values is None:
            self._clear_gradients()
            try:
                with unreduced(loss):
                    values = self._before_others_wait(loss)
            except torch.OutOfMemoryError as error:
                self.plan = self._in_smaller_parts(error)
        if reduces_at_once(loss):
            values.append(self._part(loss, self.plan.parts[-1]))
        return ranks.mean(torch.stack(values).sum())

    def _before_others_wait(self, loss: Loss) -> list[Tensor]:
        """The losses of the parts, but for the last one where ranks add up their gradients in its backward pass.

        A rank that ran out of memory there could not try again, for the others have begun to add up: so what goes
        through the network first is never that part.
        """
        if not reduces_at_once(loss):
            return [self._part(loss, rows) for rows in self.plan.parts]
        *before, last = self.plan.parts
        if not (before or self._fits):
            self._part(loss, last)
            self._clear_gradients()
        self._fits = True
        return [self._part(loss, rows) for rows in before]

    def _clear_gradients(self) -> None:
        # dropout, where a network has any: each rank its own
        torch.manual_seed(self.plan.seed + self.step + self.plan.steps * ranks.rank())
        self.optimizer.zero_grad(set_to_none=True)

    def _part(self, loss: Loss, rows: slice) -> Tensor:
        """The loss of some rows, weighed; its gradient is added to what is there."""
        weight = (rows.stop - rows.start) * ranks.count() / self.plan.batch_size
        value = loss(At(self.step, self.ema, rows)) * weight
        value.backward()
        return value.detach().float()

    def _in_smaller_parts(self, error: torch.OutOfMemoryError) -> FitPlan:
        """The plan with half as many samples at once, said aloud."""
        first = self.plan.parts[0]
        size = first.stop - first.start
        what = f"{self.plan.phase}: out of memory at step {self.step} with {size} samples at once"
        if is_sharded(self.module):
            raise UserError(
                f"{what}. Ranks that share the weights cannot try again: lower performance.micro_batch_size."
            )
        if size == 1:
            why = str(error).strip().partition("\n")[0]
            raise UserError(f"{what}: {why}. Use precision: bf16, or performance.shard on several gpus.") from error
        say(f"{what}; going on with {size // 2} (performance.micro_batch_size)")
        return replace(self.plan, micro_batch_size=size // 2)

    def _refuse_non_finite(self) -> None:
        """Stop before the optimizer spreads a NaN; on a GPU only before a log or a checkpoint (no sync per step)."""
        done = self.step + 1
        reads = self._recent[-1].device.type == "cpu" or self.plan.has_checkpoint(done) or done % LOG_EVERY_STEPS == 0
        if reads:
            self.require_finite()

    def require_finite(self) -> None:
        """Raise UserError when a loss or gradient since the last point of the curve was not finite."""
        if self._recent and not torch.stack(self._recent).isfinite().all():
            raise UserError(
                f"training: loss or gradient is not finite at step {self.step} (learning rate "
                f"{self.plan.learning_rate:g}). Lower learning_rate or use precision: fp32. Checkpoints are kept."
            )

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.plan.ema_decay, (1 + self.step) / (10 + self.step))
        for name, parameter in self.parameters.items():
            self.ema[name].lerp_(parameter.float(), 1 - decay)

    @torch.no_grad()
    def use_average(self) -> None:
        """Load the moving average into the module: what a finished training delivers."""
        for name, parameter in self.parameters.items():
            parameter.copy_(self.ema[name])

    def with_average(self, loss: Loss, do: Callable[[], A]) -> A:
        """Do something with the moving average in the module; afterwards it is what it was, bit for bit."""
        kept = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.use_average()
        try:
            return within(loss, do)
        finally:
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(kept[name])

    def tensors(self) -> dict[str, Tensor]:
        """The whole state as named tensors (safetensors, no pickle); of a sharded one each rank has its parts."""
        state = self.network()
        for name, parameter in self.parameters.items():
            state |= {f"adam.{name}.{key}": value for key, value in self.optimizer.state[parameter].items()}
        rows = [list(map(float, point)) for point in self.curve]
        return state | {
            "curve": torch.tensor(rows, dtype=torch.float64).reshape(-1, 4),
            "recent": self._stacked_recent(),
        }

    def network(self) -> dict[str, Tensor]:
        """The part of the state that the network alone determines: weights, their average, running statistics."""
        state = {f"model.{name}": p.detach() for name, p in self.parameters.items()}
        state |= {f"ema.{name}": value for name, value in self.ema.items()}
        return state | {f"buffer.{name}": value for name, value in self.buffers.items()}

    def _stacked_recent(self) -> Tensor:
        return torch.stack(self._recent) if self._recent else torch.empty(0, 2)

    @torch.no_grad()
    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to the state that :meth:`tensors` described at that step, bit for bit."""
        saved = checkpoint.tensors
        for name, parameter in self.parameters.items():
            parameter.copy_(part(saved[f"model.{name}"], parameter))
            self.ema[name].copy_(part(saved[f"ema.{name}"], parameter))
            # The fused optimizer reads parameter and moments side by side in memory: both in the parameter's layout.
            self.optimizer.state[parameter] = {
                "step": saved[f"adam.{name}.step"].to(parameter.device, copy=True),
                "exp_avg": torch.empty_like(parameter).copy_(part(saved[f"adam.{name}.exp_avg"], parameter)),
                "exp_avg_sq": torch.empty_like(parameter).copy_(part(saved[f"adam.{name}.exp_avg_sq"], parameter)),
            }
        for name, buffer in self.buffers.items():
            buffer.copy_(saved[f"buffer.{name}"])
        self.curve = [CurvePoint(int(row[0]), *row[1:]) for row in saved["curve"].tolist()]
        device = next(iter(self.parameters.values())).device
        self._recent = list(saved["recent"].to(device))
        self.step = checkpoint.step


def fit(
    module: nn.Module,
    loss: Loss,
    plan: FitPlan,
    work: Work[Any],
    clock: Callable[[], float] = time.monotonic,
    watch: Watch | None = None,
) -> list[CurvePoint]:
    """Train ``module`` to the end of the plan, resuming from the phase's latest checkpoint; leaves the EMA in it.

    The last step is a checkpoint too: a later phase of the same stage starts from it after a restart. Returns the
    training curve. Raises UserError for a non-finite loss and for a checkpoint of another layout; after a checkpoint of
    the step it is at Stopped when it is asked to end early, and UserError when ``watch`` ends it. ``clock`` counts
    seconds.
    """
    spread = together(module, loss, work.performance.shard)
    training, out, told = Fit(module, plan), work.out, _progress(work, plan.phase)
    layout = _layout(training, out)
    _resume(training, out, layout, watch)
    told(training.step)
    saved_s = clock()
    while training.step < plan.steps:
        training.train(spread)
        told(training.step)
        wrong = watch.after(training, spread) if watch else None
        asked, late = ranks.agreed(stopping.asked(), clock() - saved_s >= 60 * plan.checkpoint_every_minutes)
        if asked or late or wrong or plan.has_checkpoint(training.step):
            training.require_finite()  # on a GPU a step between two checkpoints has not been looked at
            _save(training, out, layout)
            saved_s = clock()
        if wrong:
            raise UserError(wrong)
        if asked:
            raise stopping.Stopped
    training.use_average()
    gather(module, spread)
    return training.curve


def _resume(training: Fit, out: Draft, layout: Mapping[str, JsonValue], watch: Watch | None) -> None:
    """Go on from the phase's latest checkpoint, if there is one."""
    checkpoint = _latest(training, out, layout)
    if checkpoint is not None:
        training.restore(checkpoint)
    if watch:
        watch.resume(training)


def _latest(training: Fit, out: Draft, layout: Mapping[str, JsonValue]) -> Checkpoint | None:
    """The phase's newest checkpoint, which the first rank reads for all."""
    phase, found = training.plan.phase, None
    if ranks.is_first():
        found = latest(out, layout, phase, training.network())
    if ranks.count() == 1:
        return found
    step = ranks.told(None if found is None else found.step)
    if step is None:
        return None
    device = next(iter(training.parameters.values())).device
    return Checkpoint(step, ranks.FromFirst(found.tensors if found else None, device), layout, phase)


def _save(training: Fit, out: Draft, layout: Mapping[str, JsonValue]) -> None:
    """Keep a checkpoint: the first rank writes it, whole, so that any number of ranks can go on from it."""
    tensors = training.tensors()
    if ranks.is_first():
        save(out, Checkpoint(training.step, tensors, layout, training.plan.phase))
    else:
        help_write(tensors)


def _layout(training: Fit, out: Draft) -> dict[str, JsonValue]:
    """What a checkpoint has to fit."""
    return {
        "fingerprint": out.fingerprint,
        "data": training.plan.data,
        "phase": training.plan.phase,
        "world_size": 1,  # its tensors are whole, as if one process had them all
        "parameters": sum(p.numel() for p in training.ema.values()),
    }


def _progress(work: Work[Any], phase: str) -> Callable[[int], None]:
    """Tells the stage's progress of the steps of one of its phases."""
    phases = [one.name for one in work.extent.phases]
    before = sum(one.steps for one in work.extent.phases[: phases.index(phase)])
    if not ranks.is_first():
        return lambda step: None
    return lambda step: work.progress(before + step, work.extent.total, work.extent.piece)
