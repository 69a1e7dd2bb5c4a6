"""The training loop: stopped and resumed is straight through, bitwise; a NaN never reaches a checkpoint."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue
from torch import Tensor, nn

from infra import stopping
from infra.artifact import Draft
from infra.artifact.checkpoint import latest
from infra.artifact.fingerprint import fingerprint
from infra.errors import UserError
from infra.recipe import Section
from infra.store import Store
from infra.store.local import LocalStore
from tasks.order import Draws, batch_ids
from tasks.progress import Progress, silent
from tasks.sections import Trained, Training
from tasks.stage import Work
from tasks.stages import Extent, Phase, Stage, Unit
from tasks.train.fit import LOG_EVERY_STEPS, At, CurvePoint, Fit, FitPlan, Loss, fit
from tests.tasks.conftest import PERF, Killed

STEPS = 60
FINGERPRINT = fingerprint("stage", 1, {}, {})


def plan(**changes: object) -> FitPlan:
    fields: dict[str, object] = {
        "phase": "train", "steps": STEPS, "batch_size": 8, "learning_rate": 0.02, "warmup_steps": 5, "ema_decay": 0.9,
        "gradient_clip": 1.0,
        "checkpoint_every_steps": 10, "checkpoint_every_minutes": 1e6, "decay": "cosine", "seed": 7, "data": "d" * 64,
    }  # fmt: skip
    return FitPlan(**{**fields, **changes})  # type: ignore[arg-type]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Tanh(), nn.Linear(8, 1))


def regression(module: nn.Module) -> Loss:
    """A loss of the step alone, but for dropout, which draws from torch's own generator."""
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))

    def loss(at: At) -> Tensor:
        rows = x[batch_ids(3, at.step, 8, len(x))][at.rows]
        noise = Draws("noise", at.step).normal(8, 1)[at.rows]
        return (module(rows) - rows.sum(1, keepdim=True) - 0.1 * noise).square().mean()

    return loss


def dying(loss: Loss, step: int) -> Loss:
    def wrapped(at: At) -> Tensor:
        if at.step == step:
            raise Killed
        return loss(at)

    return wrapped


def state(module: nn.Module) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in module.parameters()]


def draft(store: Store, print_: str = FINGERPRINT) -> Draft:
    return Draft(store, "stage", print_)


def working(out: Draft, progress: Progress = silent, phases: tuple[str, ...] = ("train",)) -> Work[Section]:
    """The work of a stage that consists of these trainings."""
    group = (Unit("model", STEPS * len(phases)),)
    extent = Extent((group,), unit="steps", piece="steps", phases=tuple(Phase(p, STEPS, 8, "model") for p in phases))
    stage = Stage("stage", 1, Trained, "no_such_module:Training", "Train", lambda config, roles: extent)
    return Work(stage, Trained(), {}, out, PERF, progress)


End = tuple[list[bytes], dict[str, bytes], list[CurvePoint]]


def run_to_the_end(store: Store, every: int) -> End:
    module = network()
    with draft(store) as out:
        curve = fit(module, regression(module), plan(checkpoint_every_steps=every), working(out))
        return state(module), last_checkpoint(out), curve


@pytest.fixture(scope="module")
def straight_through(tmp_path_factory: pytest.TempPathFactory) -> End:
    return run_to_the_end(LocalStore(tmp_path_factory.mktemp("whole")), STEPS)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.integers(3, 25), st.lists(st.integers(0, STEPS - 1), min_size=1, max_size=3))
@example(10, [0])
@example(10, [37])
@example(25, [25, 26])
@example(7, [59])
def test_stopped_and_resumed_is_straight_through_bitwise(straight_through: End, every: int, stops: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(Path(folder))
        for stop in sorted(stops):
            module = network()
            torch.manual_seed(stop)  # a new process has another state of torch's generator
            with draft(store) as out, pytest.raises(Killed):
                loss = dying(regression(module), stop)
                fit(module, loss, plan(checkpoint_every_steps=every), working(out))
        assert run_to_the_end(store, every) == straight_through
    assert [point.step for point in straight_through[2]] == [25, 50, 60]


def layout(out: Draft) -> dict[str, JsonValue]:
    """What a checkpoint of the regression states."""
    return {"fingerprint": out.fingerprint, "data": "d" * 64, "phase": "train", "world_size": 1, "parameters": 41}


def last_checkpoint(out: Draft) -> dict[str, bytes]:
    checkpoint = latest(out, layout(out))
    assert checkpoint is not None and checkpoint.step == STEPS
    assert {name.partition(".")[0] for name in checkpoint.tensors} == {"model", "ema", "adam", "curve", "recent"}
    return {name: tensor.numpy().tobytes() for name, tensor in checkpoint.tensors.items()}


class Ticking:
    """A clock that a minute passes on each time it is looked at."""

    now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 60
        return self.now_s


def steps_kept(store: Store) -> list[int]:
    """The steps of which there is a checkpoint."""
    return [int(path[-13:-5]) for path in store.list(f"stage/{FINGERPRINT[:16]}/checkpoints") if path.endswith(".json")]


def test_time_makes_checkpoints_too(straight_through: End, store: Store) -> None:
    module = network()
    chosen = plan(checkpoint_every_steps=STEPS, checkpoint_every_minutes=7)
    with draft(store) as out, pytest.raises(Killed):
        fit(module, dying(regression(module), 30), chosen, working(out), Ticking())
    assert steps_kept(store) == [21, 28]
    assert run_to_the_end(store, STEPS) == straight_through


@pytest.mark.parametrize("at", [0, 17, 29, STEPS - 1])
def test_asked_to_stop_it_ends_with_a_checkpoint_of_that_step(straight_through: End, at: int, store: Store) -> None:
    module, told = network(), list[int]()

    def ask(done: int, total: int, unit: str) -> None:
        told.append(done)
        if done == at + 1:
            stopping._asked.set()

    with draft(store) as out, pytest.raises(stopping.Stopped):
        try:
            fit(module, regression(module), plan(), working(out, ask))
        finally:
            stopping._asked.clear()
    assert told == [*range(at + 2)], "not a step more"
    assert steps_kept(store)[-1] == at + 1, "not a step lost"
    assert run_to_the_end(store, 10) == straight_through


def test_a_stop_keeps_no_state_that_is_not_finite(store: Store) -> None:
    """On a GPU most steps are not looked at: what a checkpoint out of turn keeps has to be."""
    training = Fit(network(), plan())
    training._recent.append(torch.tensor([float("nan"), 1.0]))
    with pytest.raises(UserError, match="not finite"):
        training.require_finite()


def test_an_optimizer_goes_on_in_the_networks_own_memory_layout(store: Store) -> None:
    """A fused optimizer reads weights and moments as they lie: moments of another layout are those of other weights."""
    ends = []
    for stop in (STEPS, 33):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(36, 1)).to(memory_format=torch.channels_last)
        x = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(1)).to(memory_format=torch.channels_last)

        def loss(at: At, module: nn.Module = module, x: Tensor = x) -> Tensor:
            return (module(x) - at.step / STEPS).square().mean()

        identity = fingerprint("stage", 1, {"stop": stop}, {})
        if stop < STEPS:
            with draft(store, identity) as out, pytest.raises(Killed):
                fit(module, dying(loss, stop), plan(), working(out))
        with draft(store, identity) as out:
            fit(module, loss, plan(), working(out))
        ends.append(state(module))
    assert ends[0] == ends[1]


def test_a_finished_training_is_not_done_again(store: Store) -> None:
    ends = []
    for at in (STEPS, 0):  # the second may not compute a single loss
        module = network()
        with draft(store) as out:
            curve = fit(module, dying(regression(module), at), plan(), working(out))
        ends.append((state(module), curve))
    assert ends[0] == ends[1]


def test_phases_keep_their_own_checkpoints(store: Store) -> None:
    module, phases = network(), ("phase-1", "phase-10")
    with draft(store) as out:
        for phase in phases:
            fit(module, regression(module), plan(phase=phase), working(out, phases=phases))
        before = state(module)
    module = network()
    with draft(store) as out:
        fit(module, dying(regression(module), 0), plan(phase="phase-1"), working(out, phases=phases))
        assert state(module) != before
        fit(module, dying(regression(module), 0), plan(phase="phase-10"), working(out, phases=phases))
        assert state(module) == before


def test_progress_counts_through_the_phases_of_a_stage(store: Store) -> None:
    told, phases = list[tuple[int, int, str]](), ("first", "second")
    with draft(store) as out:
        work = working(out, lambda *at: told.append(at), phases)
        for phase in phases:
            module = network()
            fit(module, regression(module), plan(phase=phase), work)
    counts = [*range(STEPS + 1), *range(STEPS, 2 * STEPS + 1)]
    assert told == [(count, 2 * STEPS, "steps") for count in counts]


def towards_its_average(module: nn.Module) -> Loss:
    """A regression whose target is, in part, what the average of the weights says."""
    alone = regression(module)
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(2))

    def loss(at: At) -> Tensor:
        with torch.no_grad():
            target = torch.func.functional_call(module, dict(at.average), x)
        return alone(at) + (module(x) - target).square().mean()

    return loss


def test_a_training_towards_its_own_average_resumes_bitwise(store: Store) -> None:
    ends = []
    for stop in (None, 33):
        identity = fingerprint("stage", 1, {"stop": stop}, {})
        if stop is not None:
            module = network()
            with draft(store, identity) as out, pytest.raises(Killed):
                fit(module, dying(towards_its_average(module), stop), plan(), working(out))
        module = network()
        with draft(store, identity) as out:
            curve = fit(module, towards_its_average(module), plan(), working(out))
        ends.append((state(module), curve))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_a_loss_is_told_the_average_of_the_steps_before(decay: float) -> None:
    module = nn.Linear(3, 1)
    rows = torch.randn(4, 3)
    training, equal = Fit(module, plan(ema_decay=decay)), list[bool]()

    def loss(at: At) -> Tensor:
        equal.append(all(at.average[name].equal(p) for name, p in module.named_parameters()))
        return module(rows).square().mean()

    for _ in range(3):
        training.train(loss)
    assert equal == [True, decay == 0, decay == 0]


def test_a_plan_is_what_the_recipe_says_of_the_phase() -> None:
    phase = Phase("phase-1-l2", 11, 4, "model")
    told = Training(warmup_steps=3, ema_decay=0.5, gradient_clip=2.0, decay="constant", checkpoint_every_steps=7)
    every = {"checkpoint_every_steps": 7, "checkpoint_every_minutes": 30.0}
    expected = plan(
        phase="phase-1-l2", steps=11, batch_size=4, learning_rate=0.1, warmup_steps=3, ema_decay=0.5, gradient_clip=2.0,
        decay="constant", data="d", seed=5, **every,
    )  # fmt: skip
    assert FitPlan.of(told, phase, "d", 0.1, 5) == expected
    assert FitPlan.of(told, phase, "d", 0.1, 5, 2) == replace(expected, micro_batch_size=2)
    own = replace(expected, ema_decay=0.999, gradient_clip=1.0, decay="cosine", warmup_steps=2)
    assert FitPlan.of_own(told, phase, "d", 0.1, 5, 2) == own


def test_the_training_learns_and_its_curve_says_so(store: Store) -> None:
    module = network()
    with draft(store) as out:
        curve = fit(module, regression(module), plan(learning_rate=0.05), working(out))
    assert curve[-1].loss < 0.6 * curve[0].loss
    assert all(point.gradient_norm > 0 for point in curve)


def test_a_point_of_the_curve_is_the_mean_since_the_last_one() -> None:
    module = network()
    chosen, losses = plan(), list[Tensor]()
    training, loss = Fit(module, chosen), regression(module)

    def recorded(at: At) -> Tensor:
        losses.append(loss(at))
        return losses[-1]

    for _ in range(STEPS):
        training.train(recorded)
    edges = [0, LOG_EVERY_STEPS, 2 * LOG_EVERY_STEPS, STEPS]
    means = [torch.stack(losses[a:b]).mean().item() for a, b in zip(edges, edges[1:], strict=False)]
    assert [point.loss for point in training.curve] == pytest.approx(means)
    assert [point.learning_rate for point in training.curve] == [chosen.learning_rate_at(b - 1) for b in edges[1:]]


def test_the_learning_rate_warms_up_and_falls() -> None:
    constant, cosine = plan(decay="constant"), plan()
    assert [constant.learning_rate_at(s) / 0.02 for s in (0, 1, 4, 5, 59)] == pytest.approx([0.2, 0.4, 1, 1, 1])
    assert [cosine.learning_rate_at(s) / 0.02 for s in (30, 45)] == pytest.approx([0.5, 0.1464466])
    assert plan(warmup_steps=0, decay="constant").learning_rate_at(0) == 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("decay", [0.0, 0.9, 0.9999])
def test_the_moving_average_follows_its_formula_in_fp32(decay: float, dtype: torch.dtype) -> None:
    module = nn.Linear(4, 4).to(dtype)
    rows = torch.randn(16, 4, dtype=dtype)
    training = Fit(module, plan(ema_decay=decay, decay="constant"))
    expected = {name: p.detach().double() for name, p in module.named_parameters()}
    for step in range(40):
        training.train(lambda _: (module(rows) - rows.flip(1)).square().mean())
        d = min(decay, (1 + step) / (10 + step))  # short at first, so that the start is forgotten
        expected = {
            name: d * average + (1 - d) * module.get_parameter(name).detach().double()
            for name, average in expected.items()
        }
    for name, average in training.ema.items():
        assert average.dtype == torch.float32
        torch.testing.assert_close(average.double(), expected[name], atol=1e-5, rtol=1e-5)
    training.use_average()
    assert all(torch.equal(p, training.ema[n].to(dtype)) for n, p in module.named_parameters())


def test_a_gradient_beyond_the_clip_is_scaled_to_it() -> None:
    module = nn.Linear(1, 1, bias=False)
    training = Fit(module, plan(gradient_clip=0.5))
    training.train(lambda _: 1000 * module.weight.sum())
    assert module.weight.grad is not None and float(module.weight.grad) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_non_finite_loss_stops_the_training_before_it_spreads(poison: float, store: Store) -> None:
    module = network()
    loss = regression(module)
    with draft(store) as out:
        with pytest.raises(UserError, match=r"not finite at step 33 .*learning_rate"):
            fit(module, lambda at: loss(at) * (poison if at.step == 33 else 1), plan(), working(out))
        assert all(p.isfinite().all() for p in module.parameters())
        checkpoint = latest(out, layout(out))
        assert checkpoint is not None and checkpoint.step == 30
        assert all(tensor.isfinite().all() for tensor in checkpoint.tensors.values())
        fit(network(), loss, plan(), working(out))  # goes on from there


def test_a_gradient_that_overflows_stops_it_too(store: Store) -> None:
    module = network()
    weight = module[0].weight  # type: ignore[index]
    with draft(store) as out, pytest.raises(UserError, match="loss or gradient is not finite at step 0"):
        # The loss is 0, its derivative infinite times 0.
        fit(module, lambda _: (weight * 0).sqrt().sum(), plan(), working(out))


def test_a_checkpoint_of_another_recipe_is_refused_with_both_values(store: Store) -> None:
    module, other = network(), FINGERPRINT[:16] + "0" * 48  # shares the folder, which is named by 16 digits
    with draft(store) as out, pytest.raises(Killed):
        fit(module, dying(regression(module), 20), plan(), working(out))
    with draft(store, other) as out, pytest.raises(UserError, match=rf"fingerprint: .*{FINGERPRINT}.*{other}"):
        fit(network(), regression(module), plan(), working(out))


def test_a_checkpoint_of_another_network_is_refused_with_both_values(store: Store) -> None:
    module = network()
    with draft(store) as out, pytest.raises(Killed):
        fit(module, dying(regression(module), 20), plan(), working(out))
    with draft(store) as out, pytest.raises(UserError, match=r"parameters: .*41.*2"):
        fit(nn.Linear(1, 1), regression(module), plan(), working(out))


OTHERS_OF_41 = {
    "name": (nn.Linear(40, 1), "ema.0.bias", "F32 [8]", None),
    "shape": (
        nn.Sequential(nn.Linear(8, 1), nn.Dropout(), nn.Tanh(), nn.Linear(3, 8)),
        "ema.0.bias",
        "F32 [8]",
        "F32 [1]",
    ),
    "dtype": (network().double(), "model.0.bias", "F32 [8]", "F64 [8]"),
}


@pytest.mark.parametrize("other", OTHERS_OF_41)
def test_a_network_with_as_many_parameters_is_another_by_name_shape_and_dtype(other: str, store: Store) -> None:
    module, name, was, now = OTHERS_OF_41[other]
    trained = network()
    with draft(store) as out, pytest.raises(Killed):
        fit(trained, dying(regression(trained), 20), plan(), working(out))
    expected = f"{name}: the checkpoint has {was!r}, this run {now!r}; it belongs to another training"
    with draft(store) as out, pytest.raises(UserError, match=re.escape(expected)):
        fit(module, regression(module), plan(), working(out))


def test_a_checkpoint_of_other_data_is_refused_with_both_values(store: Store) -> None:
    module = network()
    with draft(store) as out, pytest.raises(Killed):
        fit(module, dying(regression(module), 20), plan(), working(out))
    with draft(store) as out, pytest.raises(UserError, match=r"data: .*dddd.*'other'"):
        fit(network(), regression(module), plan(data="other"), working(out))


def test_frozen_parameters_are_left_alone(store: Store) -> None:
    module = network()
    module[0].requires_grad_(False)  # type: ignore[index]
    before = state(module[0])  # type: ignore[index]
    with draft(store) as out:
        fit(module, regression(module), plan(), working(out))
    assert state(module[0]) == before  # type: ignore[index]


@pytest.mark.parametrize("micro", [1, 3, 4, 8, 100])
def test_a_batch_in_parts_is_the_same_training_but_for_rounding(micro: int) -> None:
    ends = []
    for size in (None, micro):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
        x = torch.randn(40, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

        def loss(at: At, module: nn.Module = module, x: Tensor = x) -> Tensor:
            rows = x[batch_ids(3, at.step, 8, len(x))][at.rows]
            return (module(rows) - rows.sum(1, keepdim=True)).square().mean()

        training = Fit(module, plan(micro_batch_size=size))
        for _ in range(STEPS):
            training.train(loss)
        ends.append((torch.cat([p.detach().flatten() for p in module.parameters()]), training.curve))
    (whole, curve), (parts, of_parts) = ends
    torch.testing.assert_close(parts, whole, atol=1e-9, rtol=1e-9)
    for one, other in zip(curve, of_parts, strict=True):
        assert other == pytest.approx(one, rel=1e-5)  # the curve is kept in fp32


def test_the_parts_of_a_batch_are_its_rows_each_once() -> None:
    assert plan(batch_size=64, micro_batch_size=None).parts == [slice(0, 64)]
    assert plan(batch_size=64, micro_batch_size=64).parts == [slice(0, 64)]
    assert plan(batch_size=64, micro_batch_size=100).parts == [slice(0, 64)]
    assert plan(batch_size=10, micro_batch_size=4).parts == [slice(0, 4), slice(4, 8), slice(8, 10)]


def with_room_for(room: int, loss: Loss, sizes: list[int]) -> Loss:
    """A loss for which memory suffices for so many samples at once; `sizes` is told what was tried."""

    def wrapped(at: At) -> Tensor:
        sizes.append(at.rows.stop - at.rows.start)
        value = loss(at)
        if sizes[-1] > room:
            value.backward()  # what has come through until then counts for nothing
            raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB\nand more")
        return value

    return wrapped


def test_out_of_memory_halves_what_goes_through_at_once_and_changes_nothing_else(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    ends, sizes = [], list[int]()
    for room in (8, 3):
        module, identity = network().eval(), fingerprint("stage", 1, {"room": room}, {})
        with draft(store, identity) as out:
            curve = fit(module, with_room_for(room, regression(module), sizes), plan(), working(out))
        ends.append((torch.cat([p.detach().flatten() for p in module.parameters()]), curve))
    assert sizes == [8] * STEPS + [8, 4] + [2] * 4 * STEPS
    (whole, points), (halved, others) = ends
    torch.testing.assert_close(halved, whole, atol=1e-5, rtol=1e-5)
    assert [point.loss for point in others] == pytest.approx([point.loss for point in points], rel=1e-6)
    assert capsys.readouterr().err.splitlines() == [
        f"train: out of memory at step 0 with {size} samples at once; going on with {size // 2}"
        " (performance.micro_batch_size)"
        for size in (8, 4)
    ]


def test_out_of_memory_with_one_sample_is_an_error(store: Store) -> None:
    module = network()
    expected = r"out of memory at step 0 with 1 samples at once: Tried to allocate 2.00 GiB\. Use precision: bf16"
    with draft(store) as out, pytest.raises(UserError, match=expected):
        fit(module, with_room_for(0, regression(module), []), plan(), working(out))
