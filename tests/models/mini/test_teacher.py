"""The miniature teacher is Stable Diffusion in small: the same parts, the same noise table, the same loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch.nn import functional as F

from models.mini.teacher import (
    KL_WEIGHT,
    autoencoder_loss,
    build_autoencoder,
    build_scheduler,
    build_text_encoder,
    build_unet,
)
from models.mini.tokenizer import transformers_tokenizer
from tests.models.untrained import captions, merges, pipeline


def test_the_parts_fit_together() -> None:
    tokenizer = transformers_tokenizer(merges())
    autoencoder, unet, encoder = build_autoencoder(), build_unet(), build_text_encoder(tokenizer)
    ids = tokenizer(captions(2), padding="max_length", truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        latent = autoencoder.encode(torch.zeros(2, 3, 32, 32)).latent_dist.mean
        text = encoder(ids)[0]
        denoised = unet(latent, torch.tensor([0.5, 999.0]), encoder_hidden_states=text).sample
        picture = autoencoder.decode(denoised).sample
    assert (latent.shape, text.shape, picture.shape) == ((2, 4, 8, 8), (2, 24, 64), (2, 3, 32, 32))


def test_a_caption_ends_where_the_text_encoder_looks_for_its_end() -> None:
    tokenizer = transformers_tokenizer(merges())
    config = build_text_encoder(tokenizer).config
    ids = tokenizer("a red ring").input_ids
    assert (ids[0], ids[-1]) == (config.bos_token_id, config.eos_token_id) and len(tokenizer) == config.vocab_size


def test_the_noise_table_is_stable_diffusions() -> None:
    table = build_scheduler().alphas_cumprod
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    torch.testing.assert_close(table.double(), torch.cumprod(1 - betas, 0), rtol=1e-4, atol=1e-6)
    assert float(table[-1]) == pytest.approx(0.00466, abs=5e-6)


def test_it_is_a_stock_pipeline_without_a_safety_checker(tmp_path: Path) -> None:
    pipeline().save_pretrained(tmp_path)
    stock = StableDiffusionPipeline.from_pretrained(tmp_path)
    assert stock.safety_checker is None and stock.feature_extractor is None
    assert sum(one.numel() for part in (stock.unet, stock.vae, stock.text_encoder) for one in part.parameters()) < 2e6


def test_the_autoencoders_loss_is_its_error_and_a_slight_kl() -> None:
    torch.manual_seed(0)
    autoencoder, images, noise = build_autoencoder(), torch.rand(3, 3, 32, 32) * 2 - 1, torch.randn(3, 4, 8, 8)
    with torch.no_grad():
        posterior = autoencoder.encode(images).latent_dist
        decoded = autoencoder.decode(posterior.mean + posterior.std * noise).sample
        error = F.l1_loss(decoded, images) + F.mse_loss(decoded, images)
        kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
    loss = autoencoder_loss(autoencoder, images, noise)
    torch.testing.assert_close(loss.detach(), error + KL_WEIGHT * kl)
    loss.backward()
    for part in (autoencoder.encoder, autoencoder.decoder):
        assert any(one.grad is not None and one.grad.abs().sum() > 0 for one in part.parameters())
