"""Published repositories at 1/800 of the size: their files, fields and key names, with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPImageProcessor, CLIPTextConfig, CLIPTextModel

from tests.models import untrained

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.6.0",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}

SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}

_LEGACY = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def as_sd15(folder: Path) -> Path:
    """Lay a folder of ours out as the repository is; gives it back."""
    write(folder / "model_index.json", INDEX)
    write(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    CLIPImageProcessor().save_pretrained(folder / "feature_extractor")
    _safety_checker().save_pretrained(folder / "safety_checker")
    _split_tokenizer(folder / "tokenizer")
    _age_vae(folder / "vae")
    encoder = folder / "text_encoder" / "model.safetensors"
    weights = load_file(encoder)
    length = next(value for name, value in weights.items() if "position_embedding" in name).shape[0]
    weights["text_model.embeddings.position_ids"] = torch.arange(length)[None]
    save_file(weights, encoder, {"format": "pt"})
    return folder


def as_sd2(pipeline: StableDiffusionPipeline, folder: Path, zero_snr: bool) -> Path:
    """Stable Diffusion 2.1 out of the parts of a teacher of ours, in `folder`; gives it back."""
    torch.manual_seed(0)
    text = pipeline.text_encoder.config.to_dict() | {"hidden_size": 96, "hidden_act": "gelu", "projection_dim": 48}
    pipeline.text_encoder = CLIPTextModel(CLIPTextConfig(**text))
    unet = dict(pipeline.unet.config) | {
        "cross_attention_dim": 96, "attention_head_dim": (2, 4), "use_linear_projection": True,
    }  # fmt: skip
    pipeline.unet = UNet2DConditionModel.from_config(unet)
    pipeline.scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        clip_sample=False, set_alpha_to_one=False, steps_offset=1, rescale_betas_zero_snr=zero_snr,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return folder


def fp16_only(folder: Path) -> Path:
    """Leave half precision's files alone, as `huggingface-cli download --include "*.fp16.*"` does."""
    for path in [*folder.glob("*/*.safetensors")]:
        weights = {
            name: value.half() if value.is_floating_point() else value for name, value in load_file(path).items()
        }
        save_file(weights, path.with_name(f"{path.stem}.fp16.safetensors"), {"format": "pt"})
        path.unlink()
    return folder


def write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2))


def _safety_checker() -> StableDiffusionSafetyChecker:
    text = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 9}
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1,
              "image_size": 32, "patch_size": 16}  # fmt: skip
    return StableDiffusionSafetyChecker(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))


def _split_tokenizer(folder: Path) -> None:
    """vocab.json and merges.txt instead of tokenizer.json."""
    whole = json.loads((folder / "tokenizer.json").read_text())
    write(folder / "vocab.json", whole["model"]["vocab"])
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in whole["model"]["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    length = json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"]
    marks = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    write(folder / "special_tokens_map.json", marks | {"pad_token": "<|endoftext|>"})
    write(folder / "tokenizer_config.json", marks | {
        "add_prefix_space": False, "do_lower_case": True, "errors": "replace", "model_max_length": length,
        "pad_token": "<|endoftext|>", "tokenizer_class": "CLIPTokenizer",
    })  # fmt: skip
    (folder / "tokenizer.json").unlink()


def _age_vae(folder: Path) -> None:
    """The attention's key names of 2022, and no scaling factor in the config."""
    path = folder / "diffusion_pytorch_model.safetensors"
    aged = {}
    for name, value in load_file(path).items():
        for new, old in _LEGACY.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        aged[name] = value
    save_file(aged, path, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    write(folder / "config.json", {name: value for name, value in config.items() if name != "scaling_factor"})


def stable_diffusion_15(folder: Path) -> Path:
    """The whole repository of 1.5, in `folder`; gives it back."""
    return as_sd15(untrained.teacher_folder(folder))


def stable_diffusion_2(folder: Path) -> Path:
    """Stable Diffusion 2.1 trained on to zero terminal SNR, in `folder`; gives it back."""
    return as_sd2(untrained.pipeline(), folder, zero_snr=True)
