"""Pairs: what a sample is depends on its index alone; what must not be trained on is set aside."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import webdataset
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from infra.artifact import Artifact, Folder
from infra.errors import UserError
from infra.pairs import PairDataset
from infra.store import Store
from infra.store.local import LocalStore
from models.pipelines.opening import open_pipeline
from models.pipelines.text_to_image import TextToImage
from tasks.data.looks import SHOWN
from tasks.data.pairs import quarantine_reason
from tasks.data.part_prompts import PartPrompts
from tasks.data.strip import SIDE, gap
from tasks.order import derive_seed, sample_noise
from tasks.progress import Progress, silent
from tasks.sections import PairsJob, Performance, PromptsJob
from tasks.stage import run_stage
from tasks.stages import STAGES
from tests.tasks.conftest import PAIRS, PERF, Killed, killed_after


def run(
    store: Store,
    teacher: Folder,
    prompts: Artifact,
    config: PairsJob = PAIRS,
    batch_size: int = 8,
    progress: Progress = silent,
) -> Artifact:
    perf = Performance(sample_batch_size=batch_size)
    inputs = {"teacher": teacher, "prompts": prompts}
    return run_stage(STAGES["pairs"], config, inputs, store, perf, progress)


def everything(artifact: Artifact) -> tuple[Tensor, Tensor, list[str], list[str]]:
    """Noise, latents, prompts and keys in the order of the index."""
    data = PairDataset(artifact)
    noise, latent, prompts = data.batch(np.arange(len(data)))
    return noise, latent, prompts, [data[i]["key"] for i in range(len(data))]


def test_a_pair_is_the_solution_from_its_own_noise(pairs: Artifact, prompts: Artifact, teacher: Folder) -> None:
    noise, latent, texts, keys = everything(pairs)
    rows = PartPrompts(prompts, "reflow")
    assert texts == [text for _, text in rows] and keys == [f"{index:09d}" for index, _ in rows]
    seeds = [derive_seed(PAIRS.seed, "pairs", "reflow", 1, index) for index, _ in rows]
    assert torch.equal(noise, sample_noise(seeds, (4, 8, 8)))
    model = open_pipeline(teacher.path)
    solved = model.sample(noise[:8], texts[:8], PAIRS.steps, PAIRS.guidance, PAIRS.solver)
    assert torch.equal(latent[:8], solved)


def test_the_first_pairs_are_shown_as_pictures(pairs: Artifact, teacher: Folder) -> None:
    (file,) = [file for file in pairs.manifest.files if file.name.endswith(".webp")]
    assert (file.name, file.volatile) == ("shard-000000.webp", True), "no part of what the pairs are"
    model = open_pipeline(teacher.path)
    drawn = torch.cat([model.decode(one[None]) for one in everything(pairs)[1][:SHOWN]]).permute(0, 2, 3, 1).numpy()
    shown = np.asarray(Image.open(pairs.fetch(file)).convert("RGB"))
    factor = 2 * SIDE // drawn.shape[1]
    for number, picture in enumerate(drawn):
        cell = shown[:, number * (2 * SIDE + gap(2 * SIDE)) :][:, : factor * picture.shape[1]]
        assert (cell[::factor, ::factor] == picture).all()


def test_pictures_for_which_there_is_no_room_fail_nothing(
    pairs: Artifact, teacher: Folder, prompts: Artifact, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TextToImage, "decode", too_large)
    made = run(store, teacher, prompts)
    assert made.digest == pairs.digest and not made.files("*.webp")


def width(artifact: Artifact, name: str) -> int:
    return Image.open(artifact.fetch(artifact.record(name))).width


def test_stock_webdataset_reads_the_same_pairs(pairs: Artifact) -> None:
    shards = [str(pairs.fetch(file)) for file in pairs.files("shard-*.tar")]
    assert len(shards) == 3
    noise, latent, texts, keys = everything(pairs)
    seeds = pq.read_table(pairs.fetch("index.parquet"))["seed"].to_pylist()
    samples = [*webdataset.WebDataset(shards, shardshuffle=False).decode()]
    assert [sample["__key__"] for sample in samples] == keys
    for row, sample in enumerate(samples):
        np.testing.assert_array_equal(sample["noise.npy"], noise[row].numpy())
        np.testing.assert_array_equal(sample["latent.npy"], latent[row].numpy())
        assert (sample["json"]["prompt"], sample["json"]["seed"]) == (texts[row], seeds[row])


@pytest.mark.parametrize("batch_size", [1, 3, 128])
def test_pairs_do_not_depend_on_the_batch_size(
    batch_size: int, pairs: Artifact, teacher: Folder, prompts: Artifact, store: Store
) -> None:
    other = run(store, teacher, prompts, batch_size=batch_size)
    assert other.fingerprint == pairs.fingerprint
    (noise, latent, texts, keys), again = everything(pairs), everything(other)
    assert torch.equal(noise, again[0]) and (texts, keys) == again[2:]
    # Convolutions of another batch size add in another order: equal to the last digits, not to the last bit.
    assert (latent - again[1]).abs().max() < 1e-5 * max(1.0, float(latent.std()))


def test_what_does_not_fit_into_memory_is_solved_in_smaller_batches(
    teacher: Folder, prompts: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, sample = run(LocalStore(tmp_path / "three"), teacher, prompts, batch_size=3), TextToImage.sample

    def small(model: TextToImage, noise: Tensor, *told: Any) -> Tensor:
        if len(noise) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sample(model, noise, *told)

    monkeypatch.setattr(TextToImage, "sample", small)
    assert run(LocalStore(tmp_path / "six"), teacher, prompts, batch_size=6).digest == expected.digest


@pytest.mark.parametrize("told", [1, 2, 3, 4, 5])
def test_stopped_anywhere_and_repeated_gives_the_same_bytes(
    told: int, pairs: Artifact, teacher: Folder, prompts: Artifact, tmp_path: Path
) -> None:
    # 20 pairs in shards of 8, 8 and 4, batches of 5: stopped after batches 1 ... 5, within shards and at their ends.
    whole = run(LocalStore(tmp_path / "whole"), teacher, prompts, batch_size=5)
    store = LocalStore(tmp_path / "stopped")
    with pytest.raises(Killed):
        run(store, teacher, prompts, batch_size=5, progress=killed_after(told))
    kept = len([path for path in store.list("pairs") if "/units/shard-" in path])
    assert kept == [0, 0, 1, 1, 2][told - 1]
    told_again: list[int] = []
    again = run(store, teacher, prompts, batch_size=5, progress=lambda done, *_: told_again.append(done))
    assert again.digest == whole.digest
    assert told_again[0] == 8 * kept and told_again[-1] == 20, "what is committed is not made again"


class SlowStore(LocalStore):
    """A store to which the first shard does not get before something else has happened."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.go = threading.Event()

    def upload(self, local: Path, path: str) -> None:
        if "shard-000000" in path:
            assert self.go.wait(60), "the solver waited for the upload"
        super().upload(local, path)


def test_a_shard_goes_up_while_the_next_one_is_solved(
    pairs: Artifact, teacher: Folder, prompts: Artifact, tmp_path: Path
) -> None:
    store = SlowStore(tmp_path / "store")

    def progress(done: int, total: int, unit: str) -> None:
        if done > PAIRS.shard_size:
            store.go.set()

    assert run(store, teacher, prompts, progress=progress).digest == pairs.digest
    assert store.go.is_set()


def test_the_parts_and_seeds_have_their_own_noise(
    pairs: Artifact, teacher: Folder, prompts: Artifact, store: Store
) -> None:
    noise = everything(pairs)[0]
    changes: list[dict[str, object]] = [{"part": "distill"}, {"seed": 5}]
    for change in changes:
        other = everything(run(store, teacher, prompts, PAIRS.model_copy(update=change)))[0]
        assert not (noise[:4] == other[:4]).any()


POISON: dict[int, tuple[str, Callable[[Tensor], object]]] = {
    2: ("not_finite", lambda latent: latent[0, 0, 0].fill_(float("nan"))),
    5: ("not_finite", lambda latent: latent[0, 0, 0].fill_(float("-inf"))),
    9: ("constant", lambda latent: latent.fill_(0.3)),
    10: ("out_of_range", lambda latent: latent[1, 2, 3].fill_(-1000.5)),
}
"""What goes wrong with the latent of which prompt."""


def test_bad_latents_are_set_aside_with_a_reason_and_the_others_kept(
    pairs: Artifact, teacher: Folder, prompts: Artifact, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = TextToImage.sample
    firsts = [float(noise[0, 0, 0]) for noise in everything(pairs)[0]]

    def poisoned(self: TextToImage, noise: Tensor, *rest: object) -> Tensor:
        latents = sample(self, noise, *rest)  # type: ignore[arg-type]
        for row, latent in enumerate(latents):
            if (index := firsts.index(float(noise[row, 0, 0, 0]))) in POISON:
                POISON[index][1](latent)
        return latents

    monkeypatch.setattr(TextToImage, "sample", poisoned)
    artifact = run(store, teacher, prompts)
    rejected = pq.read_table(artifact.fetch("quarantine.parquet")).to_pylist()
    assert {row["index"]: row["reason"] for row in rejected} == {i: reason for i, (reason, _) in POISON.items()}
    all_prompts = dict(PartPrompts(prompts, "reflow"))
    assert all(row["prompt"] == all_prompts[row["index"]] for row in rejected)
    good = [i for i in range(20) if i not in POISON]
    for kept, before in zip(everything(artifact)[:2], everything(pairs)[:2], strict=True):
        assert torch.equal(kept, before[good])
    assert (artifact.manifest.metrics["quarantined"], artifact.manifest.metrics["pairs"]) == (4, 16)
    assert artifact.manifest.rows == 16
    files = {file.name: file for file in artifact.manifest.files}
    looks = [name for name in files if name.endswith("quarantine.webp")]
    assert looks == ["shard-000000.quarantine.webp", "shard-000001.quarantine.webp"]
    assert [round(width(artifact, name) / (2 * SIDE)) for name in looks] == [2, 2], "where there are some, as many"


@pytest.mark.parametrize("value", [float("nan"), 1e30])
def test_a_teacher_that_gives_nothing_but_bad_latents_is_an_error(
    value: float, teacher: Folder, prompts: Artifact, store: Store, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(teacher.path, tmp_path / "broken"))
    weights = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    weights["conv_out.bias"].fill_(value)
    save_file(weights, folder / "unet" / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"pairs: all 20 samples are quarantined .*pairs\.max_abs_latent"):
        run(store, Folder.open(folder, "model"), prompts)
    assert not [path for path in store.list("pairs") if path.endswith("manifest.json")]


def test_the_limits_of_a_sound_latent() -> None:
    sound = torch.linspace(-1, 1, 64).view(4, 4, 4)
    assert quarantine_reason(sound, 1.0) is None
    assert quarantine_reason(1.001 * sound, 1.0) == "out_of_range"
    assert quarantine_reason(1e-6 * sound + 0.5, 1.0) == "constant"


def test_long_prompts_are_cut_and_counted(coco: Artifact, teacher: Folder, store: Store, tmp_path: Path) -> None:
    lines = ["a " * 23 + str(i) for i in range(3)] + [f"red {i}" for i in range(5)]
    (tmp_path / "prompts.txt").write_text("\n".join(lines))
    config = PromptsJob(source="text", path=str(tmp_path / "prompts.txt"), reflow_count=7, distill_count=1)
    made = run_stage(STAGES["prompts"], config, {"coco": coco}, store, PERF, silent)
    chosen = [text for _, text in PartPrompts(made, "reflow")]
    artifact = run(store, teacher, made)
    assert artifact.manifest.metrics["truncated_prompts"] == sum(len(text.split()) > 22 for text in chosen) > 0
    assert everything(artifact)[2] == chosen, "the prompt itself is kept whole"


def test_a_solver_that_the_model_lacks_is_named(flow: Folder, prompts: Artifact, store: Store) -> None:
    with pytest.raises(UserError, match=r"^pairs\.solver: solver 'dpmsolver\+\+': a raw model .* one of euler"):
        run(store, flow, prompts)


def test_a_teacher_without_a_component_is_named(
    teacher: Folder, prompts: Artifact, store: Store, tmp_path: Path
) -> None:
    for number, missing in enumerate(["vae", "unet/diffusion_pytorch_model.safetensors"]):
        folder = Path(shutil.copytree(teacher.path, tmp_path / str(number)))
        path = folder / missing
        path.unlink() if path.is_file() else shutil.rmtree(path)
        with pytest.raises(UserError, match=rf"^model: .*{folder}.*|.*{path.stem}") as raised:
            run(store, Folder.open(folder, "model"), prompts)
        assert path.stem in str(raised.value)


def test_each_round_of_a_reflow_solves_noise_of_its_own(teacher: Folder, prompts: Artifact, store: Store) -> None:
    first, second, again = (
        everything(run(store, teacher, prompts, PAIRS.model_copy(update={"round": number, "part": "reflow"})))
        for number in (1, 2, 1)
    )
    assert first[2] == second[2], "the same prompts"
    assert torch.equal(first[0], again[0]) and not (first[0] == second[0]).any()
