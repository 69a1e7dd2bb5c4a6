"""Models of the miniature world before any training: every part is real, the weights are random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from models.mini.captions import caption
from models.mini.clip import Vision, build_clip, save_clip
from models.mini.reader import AttributeReader, save_reader
from models.mini.scene import draw_scene, generator
from models.mini.teacher import assemble, build_autoencoder, build_text_encoder, build_unet
from models.mini.tokenizer import Merges, learn_merges, transformers_tokenizer
from models.pipelines.opening import open_pipeline

LATENT = (4, 8, 8)


def captions(count: int, seed: int = 0) -> list[str]:
    """Captions of the training combinations."""
    rngs = [generator(seed, index) for index in range(count)]
    return [caption(draw_scene(rng, held_out=False), rng) for rng in rngs]


def merges() -> Merges:
    """A vocabulary of every word of the grammar."""
    return learn_merges(captions(500))


def pipeline(seed: int = 0) -> StableDiffusionPipeline:
    """An untrained teacher. Its colours are spread out, so that a difference of two latents shows in the pictures."""
    torch.manual_seed(seed)
    tokenizer = transformers_tokenizer(merges())
    autoencoder = build_autoencoder()
    with torch.no_grad():
        autoencoder.decoder.conv_out.weight *= 4
    return assemble(autoencoder, build_unet(), build_text_encoder(tokenizer), tokenizer)


def teacher_folder(folder: Path, seed: int = 0) -> Path:
    """An untrained teacher in diffusers' format; gives `folder` back."""
    pipeline(seed).save_pretrained(folder)
    return folder


def flow_folder(teacher: Path, folder: Path) -> Path:
    """The same weights saved as a raw flow."""
    flow = open_pipeline(teacher)
    flow.parameterization = "raw"
    flow.save(folder)
    return folder


def clip_folder(folder: Path, vision: Vision = "vit") -> Path:
    """An untrained CLIP and attribute reader."""
    torch.manual_seed(0)
    words = merges()
    save_clip(build_clip(len(words) + 514, vision), words, folder, vision)  # 512 letters, two marks
    save_reader(AttributeReader(), folder)
    return folder


def noise(count: int, seed: int = 0) -> torch.Tensor:
    """Noise [count, 4, 8, 8] of a seed."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((count, *LATENT)).astype("f4"))
