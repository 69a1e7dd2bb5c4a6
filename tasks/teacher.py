"""Stage `teacher`: train a small diffusion teacher from captioned images, first its autoencoder, then its denoiser."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from transformers import CLIPTokenizer

from infra.artifact import Draft, Source
from infra.recipe import Performance, TrainTeacher
from models.losses import epsilon_loss
from models.mini.teacher import (
    assemble,
    autoencoder_loss,
    build_autoencoder,
    build_scheduler,
    build_text_encoder,
    build_unet,
)
from models.mini.tokenizer import learn_merges, transformers_tokenizer
from models.text_to_image import save_pipeline
from tasks.coco import read_image
from tasks.curves import write_curve
from tasks.fit import FitPlan, fit
from tasks.order import batch_ids, derive_seed, generator
from tasks.progress import Progress, part
from tasks.stage import StageResult

SPLIT = "train2017"


def train_teacher(
    config: TrainTeacher, inputs: Mapping[str, Source], out: Draft, perf: Performance, progress: Progress, /
) -> StageResult:
    """Commit the trees ``autoencoder`` and ``model`` (a Stable Diffusion folder) and their training curves."""
    coco = inputs["world"].folder("coco")
    images, captions = load_training_set(coco)
    data, total = inputs["world"].digest, config.autoencoder_steps + config.steps
    autoencoder = _autoencoder(config, data, images, out, part(progress, 0, total))
    if "model" not in out.units():
        denoising = part(progress, config.autoencoder_steps, total)
        _denoiser(config, data, autoencoder, images, captions, out, denoising)
    parameters = {
        "autoencoder_parameters": sum(p.numel() for p in autoencoder.parameters()),
        "images": len(images),
    }
    return StageResult(metrics={**parameters, **_held_out_error(autoencoder, coco)}, seeds={"teacher": config.seed})


def load_training_set(coco: Path) -> tuple[Tensor, list[list[str]]]:
    """All training pictures as uint8 [N, 3, H, W] and each one's captions."""
    content = json.loads((coco / "annotations" / f"captions_{SPLIT}.json").read_text())
    captions: dict[int, list[str]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        captions[annotation["image_id"]].append(annotation["caption"])
    images = torch.stack([read_image(coco / SPLIT / image["file_name"]) for image in content["images"]])
    return images, list(captions.values())


def to_pixels(images: Tensor) -> Tensor:
    """uint8 pictures to -1..1, in the memory layout that convolutions like."""
    return (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def _autoencoder(config: TrainTeacher, data: str, images: Tensor, out: Draft, progress: Progress) -> AutoencoderKL:
    if "autoencoder" not in out.units():
        _train_autoencoder(config, data, images, out, progress)
    return AutoencoderKL.from_pretrained(out.folder("autoencoder")).eval().requires_grad_(False)


def _train_autoencoder(config: TrainTeacher, data: str, images: Tensor, out: Draft, progress: Progress) -> None:
    started, seed = time.monotonic(), derive_seed(config.seed, "autoencoder")
    torch.manual_seed(seed)
    autoencoder = build_autoencoder().to(memory_format=torch.channels_last)
    batch, latent = config.autoencoder_batch_size, (4, images.shape[2] // 4, images.shape[3] // 4)
    plan = FitPlan(
        data=data,
        steps=config.autoencoder_steps,
        learning_rate=config.autoencoder_learning_rate,
        warmup_steps=config.warmup_steps,
        ema_decay=0.999,
        gradient_clip=1.0,
        checkpoint_every_steps=config.checkpoint_every_steps,
        checkpoint_every_minutes=config.checkpoint_every_minutes,
        decay="cosine",
        seed=seed,
    )

    def loss(step: int) -> Tensor:
        ids = batch_ids(seed, step, batch, len(images))
        return autoencoder_loss(
            autoencoder, to_pixels(images[ids]), torch.randn(batch, *latent, generator=generator(seed, step))
        )

    curve = fit(autoencoder, loss, plan, out, "autoencoder", progress)
    # Unit variance for the denoiser, as Stable Diffusion's .18215 gives.
    autoencoder.register_to_config(scaling_factor=1 / float(_encode(autoencoder, images[:2048]).std()))
    folder = out.workdir / "autoencoder"
    autoencoder.to(memory_format=torch.contiguous_format).save_pretrained(folder)
    blobs = {
        "autoencoder": folder,
        "autoencoder_curve.parquet": write_curve(out.workdir / "autoencoder_curve.parquet", [curve]),
    }
    out.commit_unit("autoencoder", blobs, rows=plan.steps, seconds=time.monotonic() - started)


@torch.no_grad()
def _encode(autoencoder: AutoencoderKL, images: Tensor) -> Tensor:
    """Latents [N, 4, 8, 8] (posterior means, not scaled)."""
    return torch.cat([autoencoder.encode(to_pixels(chunk)).latent_dist.mean for chunk in torch.split(images, 256)])


@torch.no_grad()
def _held_out_error(autoencoder: AutoencoderKL, coco: Path) -> dict[str, float]:
    """Peak signal-to-noise ratio (dB) of the autoencoder on pictures it never saw."""
    images = torch.stack([read_image(path) for path in sorted((coco / "val2017").glob("*.png"))[:256]])
    decoded = autoencoder.decode(_encode(autoencoder, images)).sample.clamp(-1, 1)
    return {"autoencoder_psnr_db": float(10 * torch.log10(4 / (decoded - to_pixels(images)).square().mean()))}


def _denoiser(
    config: TrainTeacher,
    data: str,
    autoencoder: AutoencoderKL,
    images: Tensor,
    captions: list[list[str]],
    out: Draft,
    progress: Progress,
) -> None:
    started, seed = time.monotonic(), derive_seed(config.seed, "denoiser")
    torch.manual_seed(seed)
    tokenizer = transformers_tokenizer(learn_merges(text for texts in captions for text in texts))
    unet, text_encoder = build_unet().to(memory_format=torch.channels_last), build_text_encoder(tokenizer)
    latents = _encode(autoencoder, images) * autoencoder.config.scaling_factor
    tokens = _tokenize(tokenizer, [text for texts in captions for text in texts]).view(
        len(captions), len(captions[0]), -1
    )
    empty = _tokenize(tokenizer, [""])[0]
    alphas_cumprod = build_scheduler().alphas_cumprod
    plan = FitPlan(
        data=data,
        steps=config.steps,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup_steps,
        ema_decay=config.ema_decay,
        gradient_clip=1.0,
        checkpoint_every_steps=config.checkpoint_every_steps,
        checkpoint_every_minutes=config.checkpoint_every_minutes,
        decay="cosine",
        seed=seed,
    )

    def network(x: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        return unet(x.contiguous(memory_format=torch.channels_last), timestep, encoder_hidden_states=text).sample

    def loss(step: int) -> Tensor:
        ids, rng = batch_ids(seed, step, config.batch_size, len(latents)), generator(seed, step)
        ids_of_caption = torch.randint(tokens.shape[1], (len(ids),), generator=rng)
        dropped = torch.rand(len(ids), 1, generator=rng) < config.text_dropout
        text = text_encoder(torch.where(dropped, empty, tokens[ids, ids_of_caption]))[0]
        latent = latents[ids]
        timestep = torch.randint(len(alphas_cumprod), (len(ids),), generator=rng)
        return epsilon_loss(network, alphas_cumprod, latent, torch.randn(latent.shape, generator=rng), timestep, text)

    curve = fit(nn.ModuleDict({"unet": unet, "text_encoder": text_encoder}), loss, plan, out, "denoiser", progress)
    folder = out.workdir / "model"
    unet.to(memory_format=torch.contiguous_format)
    save_pipeline(assemble(autoencoder, unet, text_encoder, tokenizer), folder)
    blobs = {"model": folder, "curve.parquet": write_curve(out.workdir / "curve.parquet", [curve])}
    out.commit_unit("model", blobs, rows=plan.steps, seconds=time.monotonic() - started)


def _tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="np").input_ids
    return torch.from_numpy(np.asarray(ids))
