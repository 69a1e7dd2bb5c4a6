"""Stage `teacher`: train a small diffusion teacher from captioned images, first its autoencoder, then its denoiser."""

import json
import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from transformers import CLIPTokenizer

from models.condition import Condition
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
from models.pipelines.text_to_image import save_pipeline
from tasks.data.picture_batches import read_image
from tasks.order import batch_ids, derive_seed, generator
from tasks.sections import TrainTeacher
from tasks.stage import StageResult, StageWork, Units, Work
from tasks.stages import CURVE_FILE, Group, Phase
from tasks.train.curves import write_curve
from tasks.train.fit import At, FitPlan, fit

SPLIT = "train2017"


class TeacherTraining(StageWork[TrainTeacher]):
    """Commits the trees ``autoencoder`` and ``model`` (a Stable Diffusion folder) and their training curves."""

    def __init__(self, work: Work[TrainTeacher]) -> None:
        super().__init__(work)
        self.coco, self.data = self.inputs["world"].folder("coco"), self.inputs["world"].digest

    @cached_property
    def training_set(self) -> tuple[Tensor, list[list[str]]]:
        """Pictures and captions, read once."""
        return load_training_set(self.coco)

    def make(self, group: Group) -> None:
        """Train the autoencoder, then the denoiser on its latents."""
        units, (first, second) = self.out.units(), self.work.extent.phases
        if first.unit not in units:
            self._train_autoencoder(first)
        if second.unit not in units:
            self._train_denoiser(second, self._autoencoder())

    def finish(self, units: Units) -> StageResult:
        """How good the autoencoder is on pictures it never saw."""
        autoencoder, (images, _) = self._autoencoder(), self.training_set
        counts = {
            "autoencoder_parameters": sum(p.numel() for p in autoencoder.parameters()),
            "images": len(images),
        }
        return StageResult(
            metrics={**counts, **_held_out_error(autoencoder, self.coco)}, seeds={"teacher": self.config.seed}
        )

    def _autoencoder(self) -> AutoencoderKL:
        return AutoencoderKL.from_pretrained(self.out.folder("autoencoder")).eval().requires_grad_(False)

    def _train_autoencoder(self, phase: Phase) -> None:
        started, seed = time.monotonic(), derive_seed(self.config.seed, "autoencoder")
        images, _ = self.training_set
        torch.manual_seed(seed)
        autoencoder = build_autoencoder().to(memory_format=torch.channels_last)
        batch, latent = phase.batch_size, (4, images.shape[2] // 4, images.shape[3] // 4)

        def loss(at: At) -> Tensor:
            ids = batch_ids(seed, at.step, batch, len(images))
            noise = torch.randn(batch, *latent, generator=generator(seed, at.step))
            return autoencoder_loss(autoencoder, to_pixels(images[ids]), noise)

        curve = fit(autoencoder, loss, self._plan(phase, self.config.autoencoder_learning_rate, seed), self.work)
        # Unit variance for the denoiser, as Stable Diffusion's .18215 gives.
        autoencoder.register_to_config(scaling_factor=1 / float(_encode(autoencoder, images[:2048]).std()))
        folder = self.out.workdir / "autoencoder"
        autoencoder.to(memory_format=torch.contiguous_format).save_pretrained(folder)
        blobs = {
            "autoencoder": folder,
            "autoencoder_curve.parquet": write_curve(self.out.workdir / "autoencoder_curve.parquet", [curve]),
        }
        self.out.commit_unit(phase.unit, blobs, rows=phase.steps, seconds=time.monotonic() - started)

    def _train_denoiser(self, phase: Phase, autoencoder: AutoencoderKL) -> None:
        started, seed = time.monotonic(), derive_seed(self.config.seed, "denoiser")
        images, captions = self.training_set
        torch.manual_seed(seed)
        tokenizer = transformers_tokenizer(learn_merges(text for texts in captions for text in texts))
        unet, text_encoder = build_unet().to(memory_format=torch.channels_last), build_text_encoder(tokenizer)
        latents = _encode(autoencoder, images) * autoencoder.config.scaling_factor
        tokens = _tokenize(tokenizer, [text for texts in captions for text in texts]).view(
            len(captions), len(captions[0]), -1
        )
        empty, alphas_cumprod = _tokenize(tokenizer, [""])[0], build_scheduler().alphas_cumprod

        def network(x: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
            x = x.contiguous(memory_format=torch.channels_last)
            return unet(x, timestep, encoder_hidden_states=condition.text).sample

        def loss(at: At) -> Tensor:
            ids, rng = batch_ids(seed, at.step, phase.batch_size, len(latents)), generator(seed, at.step)
            ids_of_caption = torch.randint(tokens.shape[1], (len(ids),), generator=rng)
            dropped = torch.rand(len(ids), 1, generator=rng) < self.config.text_dropout
            condition = Condition(text_encoder(torch.where(dropped, empty, tokens[ids, ids_of_caption]))[0])
            latent = latents[ids]
            timestep = torch.randint(len(alphas_cumprod), (len(ids),), generator=rng)
            noise = torch.randn(latent.shape, generator=rng)
            return epsilon_loss(network, alphas_cumprod, latent, noise, timestep, condition)

        networks = nn.ModuleDict({"unet": unet, "text_encoder": text_encoder})
        plan = self._plan(phase, self.config.learning_rate, seed, self.config.ema_decay)
        curve = fit(networks, loss, plan, self.work)
        folder = self.out.workdir / "model"
        unet.to(memory_format=torch.contiguous_format)
        save_pipeline(assemble(autoencoder, unet, text_encoder, tokenizer), folder)
        blobs = {"model": folder, CURVE_FILE: write_curve(self.out.workdir / CURVE_FILE, [curve])}
        self.out.commit_unit(phase.unit, blobs, rows=phase.steps, seconds=time.monotonic() - started)

    def _plan(self, phase: Phase, learning_rate: float, seed: int, ema_decay: float = 0.999) -> FitPlan:
        plan = FitPlan.of_own(self.config, phase, self.data, learning_rate, seed, self.config.warmup_steps)
        return replace(plan, ema_decay=ema_decay)


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


def _tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="np").input_ids
    return torch.from_numpy(np.asarray(ids))
