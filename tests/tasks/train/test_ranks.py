"""One, two and three ranks, micro-batches of every size: the same training, the same order, the same checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from infra.errors import UserError
from tasks.train import ranks
from tests.tasks.train.conftest import STOPPED_AT, WAYS
from tests.tasks.train.rank_jobs import BATCH, STEPS, Way, left, trained

pytestmark = pytest.mark.timeout(900)  # torch is imported by three or more processes of a busy machine
SAME = 1e-6
"""How far losses of fp32 may be apart."""


def require_same(one: dict[str, object], other: dict[str, object]) -> None:
    """Both trainings saw the same losses at every step and ended with the same weights."""
    assert one["losses"] == pytest.approx(other["losses"], rel=0, abs=SAME)
    assert one["norms"] == pytest.approx(other["norms"], rel=1e-5)
    weights, others = one["weights"], other["weights"]
    assert isinstance(weights, dict) and isinstance(others, dict)
    for name, values in weights.items():
        assert values == pytest.approx(others[name], rel=0, abs=SAME)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.at)
@pytest.mark.parametrize("count", ["by_two", "by_three"])
def test_losses_do_not_depend_on_ranks_or_micro_batches(
    count: str, way: Way, alone: Path, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(count)
    one = left(alone, "whole")
    assert len(one["losses"]) == STEPS and one["ranks"] == 1
    for rank in range({"by_two": 2, "by_three": 3}[count]):
        require_same(left(folder, way.at, rank), one)
    assert left(folder, way.at, 0)["weights"] == left(folder, way.at, 1)["weights"], "every rank has the same, bitwise"


def order(folder: Path, at: str, count: int) -> list[tuple[int, list[int]]]:
    """What all ranks saw of each step, one rank after the other; what a rank tried first does not count."""
    found = []
    for step in range(STEPS):
        rows = list[int]()
        for rank in range(count):
            own = [row for at_step, *some in left(folder, at, rank)["seen"] for row in some if at_step == step]
            rows += own[-BATCH // count :]
        found.append((step, rows))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("micro", ["whole", "1", "4"])
def test_the_order_of_the_data_is_the_same(micro: str, alone: Path, by_two: Path, by_three: Path) -> None:
    one = order(alone, "whole", 1)
    assert all(len(rows) == BATCH for _, rows in one)
    assert order(by_two, micro, 2) == order(by_three, micro, 3) == one


@pytest.mark.slow
@pytest.mark.parametrize("at", ["resumed", "resumed-sharded"])
def test_a_changed_number_of_ranks_goes_on(at: str, alone: Path, by_two: Path, by_three: Path, tmp_path: Path) -> None:
    """One process stopped and two go on; two stopped, and one and three go on."""
    whole = left(alone, "whole")
    for folder, count in ((by_two, 2), (by_three, 3)):
        for rank in range(count):
            found = left(folder, at, rank)
            require_same(found, whole)
            assert min(step for step, *_ in found["seen"]) == STOPPED_AT + 1, "not a step again"
    trained(by_two, Way("stopped-sharded"))
    require_same(left(by_two, "stopped-sharded"), whole)


@pytest.mark.slow
def test_a_rank_without_room_goes_on_with_less_at_once(by_two: Path, alone: Path) -> None:
    require_same(left(by_two, "room"), left(alone, "whole"))
    first, last = (left(by_two, "room", rank)["seen"] for rank in (0, 1))
    assert {len(rows) for _, *rows in last} == {1}, "6 and 3 were too many, which is more than there is room for"
    assert {len(rows) for _, *rows in first} == {BATCH // 2}, "the other one has room"


def test_alone_there_is_nobody_to_ask() -> None:
    assert (ranks.rank(), ranks.count(), ranks.is_first()) == (0, 1, True)
    assert ranks.agreed(True, False) == [True, False] and ranks.told("this") == "this"
    value = torch.tensor(3.0)
    assert ranks.mean(value) is value
    ranks.wait()


def test_shares_are_a_batch_and_equal() -> None:
    assert [ranks.share(12, rank, 3) for rank in range(3)] == [slice(0, 4), slice(4, 8), slice(8, 12)]
    with pytest.raises(UserError, match="a batch of 8 samples has no equal shares for 3 ranks. Give a batch_size"):
        ranks.share(8, 0, 3)


def test_a_rank_takes_the_device_of_its_number_among_those_it_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert [ranks._own_device(rank, 2) for rank in range(2)] == [0, 1]
    with pytest.raises(UserError, match=r"gpus: 4, but this process sees 2 \(CUDA_VISIBLE_DEVICES: 2,5\)"):
        ranks._own_device(2, 2)


def test_tensors_of_the_first_are_read_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks.dist, "broadcast", lambda tensor, source: None)
    found = ranks.FromFirst({"a": torch.ones(2), "b": torch.zeros(0, 4)}, torch.device("cpu"))
    assert [*found] == ["a", "b"] and len(found) == 2
    assert found["a"].tolist() == [1, 1] and found["b"].shape == (0, 4)
