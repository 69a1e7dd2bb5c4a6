"""Tiny pipelines of the real classes: every part is diffusers' or transformers' own, the weights are random.

They draw 32-pixel pictures, so that the miniature world's captions and judges fit them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from models.mini.tokenizer import CONTEXT_LENGTH, transformers_tokenizer
from tests.models.untrained import captions, merges

WIDTH, POOLED = 16, 24
"""Of the text encoders' hidden states, and of the second one's projection."""

T5_WIDTH = 40
"""At least that of both CLIP encoders, which are padded to it."""


def stable_diffusion_xl(folder: Path, seed: int = 0, **scheduler: Any) -> Path:
    """An untrained SDXL, saved as its repository is; gives ``folder`` back."""
    torch.manual_seed(seed)
    first, second = clip_tokenizer(), clip_tokenizer(pad_token="!")  # as in SDXL's repository
    unet = UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=2 * WIDTH,
        attention_head_dim=(2, 4),
        norm_num_groups=8,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + POOLED,
    )
    StableDiffusionXLPipeline(
        vae=autoencoder(scaling_factor=0.13025),
        text_encoder=CLIPTextModel(clip_config(first, "quick_gelu")),
        text_encoder_2=CLIPTextModelWithProjection(clip_config(second, "gelu")),
        tokenizer=first,
        tokenizer_2=second,
        unet=unet,
        scheduler=EulerDiscreteScheduler(**{**SDXL_SCHEDULER, **scheduler}),
    ).save_pretrained(folder)
    return folder


SDXL_SCHEDULER: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "interpolation_type": "linear",
    "use_karras_sigmas": False,
}
"""What SDXL's repository says in scheduler/scheduler_config.json."""


def stable_diffusion_3(folder: Path, seed: int = 0, *, t5: bool = True, **scheduler: Any) -> Path:
    """An untrained SD3, with or without its T5, saved as its repository is; gives ``folder`` back."""
    torch.manual_seed(seed)
    first, second = clip_tokenizer(), clip_tokenizer(pad_token="!")
    words = t5_tokenizer() if t5 else None
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=T5_WIDTH,
        caption_projection_dim=16,
        pooled_projection_dim=2 * POOLED,
        out_channels=16,
        pos_embed_max_size=8,
    )
    with torch.no_grad():  # diffusers leaves them near zero: the text would hardly be heard
        for block in transformer.transformer_blocks:
            block.norm1.linear.weight.mul_(8)
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **scheduler}),
        vae=autoencoder(latent_channels=16, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False,
                        use_post_quant_conv=False),
        text_encoder=CLIPTextModelWithProjection(clip_config(first, "quick_gelu")),
        text_encoder_2=CLIPTextModelWithProjection(clip_config(second, "gelu")),
        text_encoder_3=T5EncoderModel(t5_config(words)) if words else None,
        tokenizer=first,
        tokenizer_2=second,
        tokenizer_3=words,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def described(folder: Path, name: str, configs: Mapping[str, Mapping[str, Any]], others: Sequence[str]) -> Path:
    """A folder that says no more than its JSON files do: no tensors in the weights, no words in tokenizers."""
    for component, config in configs.items():
        scheduler = component == "scheduler"
        (folder / component).mkdir()
        (folder / component / ("scheduler_config.json" if scheduler else "config.json")).write_text(json.dumps(config))
        if not scheduler:
            save_file({}, folder / component / "model.safetensors")
    for component in others:
        (folder / component).mkdir()
        (folder / component / "vocab.json").write_text("{}")
    index = {"_class_name": name, **{component: ["a library", "a class"] for component in (*configs, *others)}}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def lora_layers(network: nn.Module) -> dict[str, torch.Tensor]:
    """A LoRA made for a network's attention, as if it were trained: what a pipeline's ``save_lora_weights`` takes."""
    torch.manual_seed(4)
    config = LoraConfig(r=2, lora_alpha=2, init_lora_weights="gaussian", target_modules=["to_q", "to_k", "to_v"])
    network.add_adapter(config)
    for name, parameter in network.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    layers: dict[str, torch.Tensor] = get_peft_model_state_dict(network)
    return layers


@torch.no_grad()
def merge(layers: dict[str, torch.Tensor], network: nn.Module) -> None:
    """Put a LoRA into the weights, W + B A."""
    for name in [name for name in layers if name.endswith("lora_A.weight")]:
        a, b = layers[name], layers[name.replace("lora_A", "lora_B")]
        network.get_submodule(name.removesuffix(".lora_A.weight")).weight += b @ a


def autoencoder(**config: Any) -> AutoencoderKL:
    """RGB [3, 32, 32] <-> latent [C, 8, 8]; its colours are spread out, so that latents show in the pictures."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16),
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=32,
        **{"latent_channels": 4, **config},
    )
    with torch.no_grad():
        vae.decoder.conv_out.weight *= 4
    return vae


def clip_tokenizer(**special: str) -> CLIPTokenizer:
    """Every word of the miniature grammar is a token; 24 tokens fit."""
    tokenizer = transformers_tokenizer(merges())
    tokenizer.add_special_tokens(special)
    return tokenizer


def clip_config(tokenizer: CLIPTokenizer, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=POOLED,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT_LENGTH,
        hidden_act=activation,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def t5_tokenizer() -> T5Tokenizer:
    """A unigram vocabulary of the miniature grammar's words, with T5's own special tokens in front."""
    words = sorted({f"▁{word}" for caption in captions(500) for word in caption.split()})
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5Tokenizer(vocab=[*special, *((word, -5.0) for word in words)], extra_ids=0, model_max_length=512)


def t5_config(tokenizer: T5Tokenizer) -> T5Config:
    return T5Config(
        vocab_size=len(tokenizer),
        d_model=T5_WIDTH,
        d_kv=8,
        d_ff=2 * T5_WIDTH,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=0,
    )
