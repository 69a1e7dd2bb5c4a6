"""The training loop: stopped and resumed is straight through, bitwise; a NaN never reaches a checkpoint."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue
from torch import Tensor, nn

from infra import stopping
from infra.artifact import Draft
from infra.checkpoint import latest
from infra.errors import UserError
from infra.fingerprint import fingerprint
from infra.local_store import LocalStore
from infra.store import Store
from tasks.fit import LOG_EVERY_STEPS, CurvePoint, Fit, FitPlan, fit
from tasks.order import batch_ids, generator
from tasks.progress import silent
from tests.tasks.conftest import Killed

STEPS = 60
FINGERPRINT = fingerprint("stage", 1, {}, {})


def plan(**changes: object) -> FitPlan:
    fields: dict[str, object] = {
        "steps": STEPS, "learning_rate": 0.02, "warmup_steps": 5, "ema_decay": 0.9, "gradient_clip": 1.0,
        "checkpoint_every_steps": 10, "checkpoint_every_minutes": 1e6, "decay": "cosine", "seed": 7, "data": "d" * 64,
    }  # fmt: skip
    return FitPlan(**{**fields, **changes})  # type: ignore[arg-type]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Tanh(), nn.Linear(8, 1))


def regression(module: nn.Module) -> Callable[[int], Tensor]:
    """A loss of the step alone, but for dropout, which draws from torch's own generator."""
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))

    def loss(step: int) -> Tensor:
        rows = x[batch_ids(3, step, 8, len(x))]
        noise = torch.randn(len(rows), 1, generator=generator("noise", step))
        return (module(rows) - rows.sum(1, keepdim=True) - 0.1 * noise).square().mean()

    return loss


def dying(loss: Callable[[int], Tensor], at: int) -> Callable[[int], Tensor]:
    def wrapped(step: int) -> Tensor:
        if step == at:
            raise Killed
        return loss(step)

    return wrapped


def state(module: nn.Module) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in module.parameters()]


def draft(store: Store, print_: str = FINGERPRINT) -> Draft:
    return Draft(store, "stage", print_)


End = tuple[list[bytes], dict[str, bytes], list[CurvePoint]]


def run_to_the_end(store: Store, every: int) -> End:
    module = network()
    with draft(store) as out:
        curve = fit(module, regression(module), plan(checkpoint_every_steps=every), out, "train", silent)
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
                fit(module, loss, plan(checkpoint_every_steps=every), out, "train", silent)
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
        fit(module, dying(regression(module), 30), chosen, out, "train", silent, Ticking())
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
            fit(module, regression(module), plan(), out, "train", ask)
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

        def loss(step: int, module: nn.Module = module, x: Tensor = x) -> Tensor:
            return (module(x) - step / STEPS).square().mean()

        identity = fingerprint("stage", 1, {"stop": stop}, {})
        if stop < STEPS:
            with draft(store, identity) as out, pytest.raises(Killed):
                fit(module, dying(loss, stop), plan(), out, "train", silent)
        with draft(store, identity) as out:
            fit(module, loss, plan(), out, "train", silent)
        ends.append(state(module))
    assert ends[0] == ends[1]


def test_a_finished_training_is_not_done_again(store: Store) -> None:
    ends = []
    for at in (STEPS, 0):  # the second may not compute a single loss
        module = network()
        with draft(store) as out:
            curve = fit(module, dying(regression(module), at), plan(), out, "train", silent)
        ends.append((state(module), curve))
    assert ends[0] == ends[1]


def test_phases_keep_their_own_checkpoints(store: Store) -> None:
    module = network()
    with draft(store) as out:
        for phase in ("phase-1", "phase-10"):
            fit(module, regression(module), plan(), out, phase, silent)
        before = state(module)
    module = network()
    with draft(store) as out:
        fit(module, dying(regression(module), 0), plan(), out, "phase-1", silent)
        assert state(module) != before
        fit(module, dying(regression(module), 0), plan(), out, "phase-10", silent)
        assert state(module) == before


def test_the_training_learns_and_its_curve_says_so(store: Store) -> None:
    module = network()
    with draft(store) as out:
        curve = fit(module, regression(module), plan(learning_rate=0.05), out, "train", silent)
    assert curve[-1].loss < 0.6 * curve[0].loss
    assert all(point.gradient_norm > 0 for point in curve)


def test_a_point_of_the_curve_is_the_mean_since_the_last_one() -> None:
    module = network()
    chosen, losses = plan(), []
    training, loss = Fit(module, chosen), regression(module)

    def recorded(step: int) -> Tensor:
        losses.append(loss(step))
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
            fit(module, lambda s: loss(s) * (poison if s == 33 else 1), plan(), out, "train", silent)
        assert all(p.isfinite().all() for p in module.parameters())
        checkpoint = latest(out, layout(out))
        assert checkpoint is not None and checkpoint.step == 30
        assert all(tensor.isfinite().all() for tensor in checkpoint.tensors.values())
        fit(network(), loss, plan(), out, "train", silent)  # goes on from there


def test_a_gradient_that_overflows_stops_it_too(store: Store) -> None:
    module = network()
    weight = module[0].weight  # type: ignore[index]
    with draft(store) as out, pytest.raises(UserError, match="loss or gradient is not finite at step 0"):
        # The loss is 0, its derivative infinite times 0.
        fit(module, lambda _: (weight * 0).sqrt().sum(), plan(), out, "train", silent)


def test_a_checkpoint_of_another_recipe_is_refused_with_both_values(store: Store) -> None:
    module, other = network(), FINGERPRINT[:16] + "0" * 48  # shares the folder, which is named by 16 digits
    with draft(store) as out, pytest.raises(Killed):
        fit(module, dying(regression(module), 20), plan(), out, "train", silent)
    with draft(store, other) as out, pytest.raises(UserError, match=rf"fingerprint: .*{FINGERPRINT}.*{other}"):
        fit(network(), regression(module), plan(), out, "train", silent)


def test_a_checkpoint_of_another_network_is_refused_with_both_values(store: Store) -> None:
    module = network()
    with draft(store) as out, pytest.raises(Killed):
        fit(module, dying(regression(module), 20), plan(), out, "train", silent)
    with draft(store) as out, pytest.raises(UserError, match=r"parameters: .*41.*2"):
        fit(nn.Linear(1, 1), regression(module), plan(), out, "train", silent)


def test_a_checkpoint_of_other_data_is_refused_with_both_values(store: Store) -> None:
    module = network()
    with draft(store) as out, pytest.raises(Killed):
        fit(module, dying(regression(module), 20), plan(), out, "train", silent)
    with draft(store) as out, pytest.raises(UserError, match=r"data: .*dddd.*'other'"):
        fit(network(), regression(module), plan(data="other"), out, "train", silent)


def test_frozen_parameters_are_left_alone(store: Store) -> None:
    module = network()
    module[0].requires_grad_(False)  # type: ignore[index]
    before = state(module[0])  # type: ignore[index]
    with draft(store) as out:
        fit(module, regression(module), plan(), out, "train", silent)
    assert state(module[0]) == before  # type: ignore[index]
