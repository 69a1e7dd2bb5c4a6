"""A model as what it is to the chain: a network, a velocity field, a sampler and a decoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from models.condition import Condition
from models.losses import reflow_loss
from models.pipelines.folder import Parameterization
from models.pipelines.opening import open_pipeline
from models.pipelines.text_to_image import TextToImage
from models.solvers import DIFFUSION_SOLVERS, FLOW_SOLVERS
from models.velocity import converted
from tests.models.pipelines.folders import copy, edit
from tests.models.untrained import LATENT, captions, noise, teacher_folder


def test_an_unknown_solver_is_named_with_those_that_fit(teacher: TextToImage, flow: TextToImage) -> None:
    for solver in DIFFUSION_SOLVERS:
        teacher.check_solver(solver)
    for solver in FLOW_SOLVERS:
        flow.check_solver(solver)
    with pytest.raises(ValueError, match=r"solver 'ddim': a raw model is solved with one of euler, heun, unipc"):
        flow.check_solver("ddim")
    with pytest.raises(ValueError, match=r"solver 'rk4': .*dpmsolver\+\+, .*ddim, euler"):
        teacher.check_solver("rk4")


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize(
    ("name", "solver"),
    [*(("teacher", solver) for solver in DIFFUSION_SOLVERS), *(("flow", solver) for solver in FLOW_SOLVERS)],
)
def test_a_sample_does_not_depend_on_its_batch(
    name: str, solver: str, guidance: float, request: pytest.FixtureRequest
) -> None:
    model: TextToImage = request.getfixturevalue(name)
    together = model.sample(noise(5), captions(5), 4, guidance, solver)
    alone = [model.sample(noise(5)[i : i + 1], captions(5)[i : i + 1], 4, guidance, solver) for i in range(5)]
    # An untrained teacher's latents are large: 1e-5 of their scale.
    assert (together - torch.cat(alone)).abs().max() < 1e-5 * max(1.0, float(together.std()))


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def predicting(request: pytest.FixtureRequest, teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher whose output is taken as what the parameter says."""
    folder = copy(teacher_folder, tmp_path_factory.mktemp("predicting"))
    path = folder / "scheduler" / "scheduler_config.json"
    edit(path, lambda config: config.update(prediction_type=request.param))
    return folder


@pytest.fixture(scope="module")
def low(predicting: Path) -> TextToImage:
    """That teacher in half precision."""
    return open_pipeline(predicting, "bf16")


@pytest.fixture(scope="module")
def same(predicting: Path) -> TextToImage:
    """The same weights, computed with in single precision."""
    model = open_pipeline(predicting, "bf16")
    model.denoiser.float()
    model.pipeline.text_encoder.float()
    return model


@pytest.mark.parametrize(
    ("parameterization", "solver"),
    [
        *(("diffusion", solver) for solver in DIFFUSION_SOLVERS),
        *((flow, solver) for flow in ("raw", "converted") for solver in FLOW_SOLVERS),
    ],
)
def test_low_precision_is_for_the_network_only(
    low: TextToImage, same: TextToImage, parameterization: Parameterization, solver: str
) -> None:
    low.parameterization = same.parameterization = parameterization
    found, expected = (model.sample(noise(2), captions(2), 25, 3.0, solver) for model in (low, same))
    assert (found - expected).norm() < 0.006 * expected.norm()  # with a state in bf16: .0095 to .036


@pytest.mark.parametrize("parameterization", ["raw", "converted"])
def test_training_in_low_precision_keeps_state_and_target_single(
    parameterization: Parameterization, predicting: Path
) -> None:
    model, seen = open_pipeline(predicting), list[Tensor]()
    model.parameterization = parameterization
    unet = model.forward

    def spy(x: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        output = unet(x, timestep, condition)
        seen.extend((x, timestep, output))
        return output

    model.forward = spy  # type: ignore[method-assign]
    sigma, latent, condition = torch.tensor([0.2, 0.7, 0.99, 1.0]), noise(4, seed=1), model.encode(captions(4))

    def loss() -> Tensor:
        return reflow_loss(model.velocity(), noise(4), latent, condition, sigma, "l2")

    with torch.autocast("cpu", torch.bfloat16):
        low = loss()
    assert [one.dtype for one in seen] == [torch.float32, torch.float32, torch.bfloat16]
    with torch.no_grad():
        exact = loss()
    assert low.dtype == torch.float32 and abs(float(low / exact) - 1) < 3e-3
    assert torch.equal(seen[0], seen[3]) and torch.equal(seen[1], seen[4]), "the same question in both"


def test_a_network_is_told_whole_times_and_the_very_noise_that_is_stored(teacher_folder: Path) -> None:
    model, seen = open_pipeline(teacher_folder, "bf16"), list[tuple[Tensor, Tensor]]()
    forward = model.forward

    def spy(x: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        seen.append((x, timestep))
        return forward(x, timestep, condition)

    model.forward = spy  # type: ignore[method-assign]
    model.sample(noise(1), captions(1), 25, 1.0, "dpmsolver++")
    times = [timestep for _, timestep in seen]
    assert [time.item() for time in times] == [999 - 40 * i for i in range(25)]
    assert all(time.dtype == torch.float32 for time in times), "999 is 1000 in bf16"
    assert torch.equal(seen[0][0], noise(1).bfloat16())


def test_guidance_is_the_difference_to_the_empty_prompt(teacher: TextToImage) -> None:
    x, time, text = noise(2), torch.full((2,), 500.0), teacher.encode(captions(2))
    null = teacher.encode(["", ""])
    with torch.no_grad():
        without, with_text = teacher.network()(x, time, null), teacher.network()(x, time, text)
        guided = teacher.network(3.0)(x, time, text)
    torch.testing.assert_close(guided, without + 3 * (with_text - without), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(without, with_text, atol=1e-3)


def test_decoded_pictures_are_rounded_not_floored(teacher: TextToImage) -> None:
    pictures = teacher.decode(noise(2))
    assert (pictures.dtype, pictures.shape) == (torch.uint8, (2, 3, 32, 32))
    with torch.no_grad():
        exact = (teacher.pixels(noise(2)) / 2 + 0.5).clamp(0, 1) * 255
    assert (pictures.float() - exact).abs().max() <= 0.5001


def test_what_a_network_predicts_decides_how_it_is_a_velocity(teacher: TextToImage, flow: TextToImage) -> None:
    x, condition = noise(2), flow.encode(captions(2))
    sigma = torch.tensor([1.0, 0.3])
    with torch.no_grad():
        assert torch.equal(flow.velocity()(x, sigma, condition), flow.forward(x, 1000 * sigma, condition))
        alphas = teacher.pipeline.scheduler.alphas_cumprod
        expected = converted(teacher.forward, alphas, "epsilon")(x, sigma, condition)
        assert torch.equal(teacher.velocity()(x, sigma, condition), expected)
    assert not torch.allclose(expected, flow.velocity()(x, sigma, condition), atol=1e-2)


def test_the_denoiser_is_frozen_and_says_where_and_how_it_runs(teacher: TextToImage) -> None:
    assert not teacher.denoiser.training and not any(one.requires_grad for one in teacher.denoiser.parameters())
    first = next(teacher.denoiser.parameters())
    assert (teacher.device, teacher.dtype, teacher.decoder) == (first.device, torch.float32, "AutoencoderKL")


def test_a_sample_is_single_precision_on_the_cpu_whatever_the_model_is(flow_folder: Path) -> None:
    model = open_pipeline(flow_folder, "bf16")
    assert model.dtype == torch.bfloat16
    latent = model.sample(noise(1), captions(1), 2, 1.5, "euler")
    assert (latent.dtype, latent.device.type, latent.shape) == (torch.float32, "cpu", (1, *LATENT))
    assert model.decode(latent).dtype == torch.uint8


@pytest.fixture(scope="module")
def stock(predicting: Path) -> StableDiffusionPipeline:
    """That teacher in the stock pipeline."""
    pipeline = StableDiffusionPipeline.from_pretrained(predicting)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def solved(predicting: Path) -> TextToImage:
    """That teacher in single precision."""
    return open_pipeline(predicting)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("solver", DIFFUSION_SOLVERS)
def test_a_teacher_is_solved_as_the_stock_pipeline_does_with_that_scheduler(
    stock: StableDiffusionPipeline, solved: TextToImage, solver: str, guidance: float
) -> None:
    scheduler, options = DIFFUSION_SOLVERS[solver]
    stock.scheduler = scheduler.from_config(stock.scheduler.config, timestep_spacing="trailing", **options)
    prompts = captions(2)
    for steps in (3, 10):
        ours = solved.sample(noise(2), prompts, steps, guidance, solver)
        theirs = stock(
            prompts, num_inference_steps=steps, guidance_scale=guidance, latents=noise(2), output_type="latent"
        ).images
        assert (ours - theirs).norm() < 1e-5 * theirs.norm()


@pytest.mark.parametrize(("kind", "solver"), [("diffusion", "dpmsolver++"), ("diffusion", "heun"), ("raw", "unipc")])
def test_a_sampler_is_used_again_and_encodes_the_empty_prompt_once(
    kind: Parameterization, solver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_pipeline(teacher_folder(tmp_path / "teacher"))
    model.parameterization = kind
    encode, told = type(model).encode, list[list[str]]()
    monkeypatch.setattr(type(model), "encode", lambda self, texts: (told.append([*texts]), encode(self, texts))[1])
    sampler, x = model.sampler(3, 2.0, solver), noise(2)
    first, again = sampler(x, ["a red ring", "a blue star"]), sampler(x, ["a red ring", "a blue star"])
    assert torch.equal(first, again) and told.count([""]) == 1
    assert torch.equal(first, model.sample(x, ["a red ring", "a blue star"], 3, 2.0, solver))
