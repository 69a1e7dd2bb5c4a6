"""What holds of every family with two CLIP text encoders, as teacher and as flow."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from infra.artifact.fingerprint import tree_files
from models.pipelines.folder import check_folder
from models.pipelines.opening import open_pipeline
from models.pipelines.text_to_image import TextToImage
from models.solvers import euler
from models.velocity import guided, raw
from tests.models.pipelines import tiny
from tests.models.pipelines.families import SD3, TOLERANCE, XL, Family, gap, stock
from tests.models.pipelines.folders import copy, edit
from tests.models.untrained import captions


@pytest.fixture(params=[XL, SD3], ids=["xl", "sd3"], scope="module")
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


@pytest.mark.parametrize(
    ("family", "part"),
    [*((XL, part) for part in ("text", "pooled", "size")), *((SD3, part) for part in ("text", "pooled"))],
    indirect=["family"],
    scope="module",
)
def test_the_network_hears_every_part_of_the_condition(family: Family, part: str, model: TextToImage) -> None:
    x, time, told = family.noise(2), torch.full((2,), 500.0), model.encode(captions(2))
    changed = type(told)(**{**vars(told), part: getattr(told, part) + 1})
    with torch.no_grad():
        assert not torch.allclose(model.forward(x, time, told), model.forward(x, time, changed), atol=1e-4)


def test_a_negative_prompt_is_guided_away_from(family: Family, exported: Path) -> None:
    flow, negative = open_pipeline(exported), captions(4)[3]
    pipeline, told = stock(exported), flow.encode(captions(2))
    velocity = raw(guided(flow.call, flow.encode([negative]), 3.0))
    ours = euler(velocity, family.noise(2), told, flow.sigmas(1))
    theirs = family.drawn(pipeline, 1, 3.0, negative_prompt=[negative] * 2)
    assert gap(ours, theirs) < TOLERANCE < gap(family.drawn(pipeline, 1, 3.0), theirs)


def test_a_lora_of_the_teacher_works_with_a_flow(family: Family, folder: Path, exported: Path, tmp_path: Path) -> None:
    layers = tiny.lora_layers(getattr(stock(folder), family.network))
    pipeline, flow = stock(exported), open_pipeline(exported)
    type(pipeline).save_lora_weights(tmp_path, **{f"{family.network}_lora_layers": layers})
    without = family.drawn(pipeline, 1, 1.5)
    pipeline.load_lora_weights(tmp_path)
    tiny.merge(layers, flow.denoiser)
    assert gap(flow.sample(family.noise(2), captions(2), 1, 1.5, "euler"), family.drawn(pipeline, 1, 1.5)) < TOLERANCE
    assert gap(without, family.drawn(pipeline, 1, 1.5)) > 0.01


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_low_precision_is_for_the_network_only(dtype: str, family: Family, folder: Path, model: TextToImage) -> None:
    low = open_pipeline(folder, dtype)
    ours, exact = (one.sample(family.noise(2), captions(2), 4, 3.0, family.solver) for one in (low, model))
    assert ours.dtype == torch.float32 and 0 < gap(ours, exact) < {"bf16": 0.15, "fp16": 0.02}[dtype]
    assert not torch.equal(ours, ours.to(low.dtype).float()), "the state has more digits than the network"


def test_where_a_model_was_loaded_from_is_not_in_its_bytes(folder: Path, tmp_path: Path) -> None:
    for name in ("here", "there"):
        open_pipeline(copy(folder, tmp_path / name)).save(tmp_path / name / "saved")
    here, there = ({file: path.read_bytes() for file, path in tree_files(tmp_path / name / "saved").items()}
                   for name in ("here", "there"))  # fmt: skip
    assert here == there and len(here) > 10


def test_prompts_too_long_are_cut_and_counted_without_a_word_for_each(
    family: Family, model: TextToImage, caplog: pytest.LogCaptureFixture
) -> None:
    fits, too_long = "a " * 22, "a " * 23  # with the two marks 24 and 25 tokens
    assert model.truncated([fits, too_long, ""]) == 1
    first, second, _ = model.encode([fits, too_long, ""]).text
    assert torch.equal(first[:24], second[:24]) and not caplog.records
    assert torch.equal(first[24:], second[24:]) is (family is XL), "T5, which comes after both CLIPs, is told more"


XL_FAULTS = [
    ("unet", "cross_attention_dim", 16, r"width of the text: 16 \(unet.*\) against 16 \(text_.* \+ 16 \(text_enco"),
    ("unet", "addition_time_embed_dim", 4, r"width of the pooled text and of the six numbers of a size: 72 \(unet"),
    ("unet", "addition_embed_type", None, r'addition_embed_type is null; expected "text_time"'),
    ("unet", "time_cond_proj_dim", 256, r"unet/config.json: time_cond_proj_dim is 256; expected null"),
    ("unet", "in_channels", 9, r"channels of a latent: 9 \(unet/config.json: in_channels\) against 4 \(vae"),
    ("vae", "latents_mean", [0.1, 0, 0, 0], r"vae/config.json: latents_mean is \[0.1, 0, 0, 0\]; expected null"),
    ("text_encoder_2", "projection_dim", None, r"text_encoder_2/config.json: projection_dim is null; expected a w"),
]
SD3_FAULTS = [
    ("transformer", "in_channels", 4, r"channels of a latent: 4 \(transformer/.*in_channels\) against 16 \(vae"),
    ("transformer", "joint_attention_dim", 64, r"width of the text: 64 \(transformer/.* against 40 \(text_enc"),
    ("transformer", "pooled_projection_dim", 9, r"width of the pooled text: 9 \(transformer.* against 24 .* \+ 24"),
    ("transformer", "sample_size", None, r"transformer/config.json: sample_size is null; expected the side"),
]


@pytest.mark.parametrize(
    ("family", "file", "field", "value", "told"),
    [*((XL, *fault) for fault in XL_FAULTS), *((SD3, *fault) for fault in SD3_FAULTS)],
    indirect=["family"],
    scope="module",
)
def test_a_folder_whose_parts_do_not_fit_is_refused_without_loading_it(
    file: str, field: str, value: object, told: str, folder: Path, tmp_path: Path
) -> None:
    edited = copy(folder, tmp_path)
    edit(edited / file / "config.json", lambda config: config.update({field: value}))
    with pytest.raises(ValueError, match=told):
        check_folder(edited)
