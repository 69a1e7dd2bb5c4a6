"""What each family's folder consists of: its components, and the numbers of their configs that have to agree.

Imports nothing heavy: a folder is judged by this table before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from models.pipelines.scheduler_config import FLOW_CLASSES


class Equal(NamedTuple):
    """Fields that must agree: the sum of ``parts`` is ``whole``; each is written "component.field"."""

    whole: str
    parts: tuple[str, ...]
    what: str


@dataclass(frozen=True)
class Layout:
    """What a family's folder consists of.

    ``networks`` are the components with weights and ``others`` those without; ``side`` is the field with the side of a
    latent; ``only`` are the values that a field may have, since the family does nothing for any other. The components
    ``together`` are all there or all null in model_index.json.
    """

    networks: tuple[str, ...]
    others: tuple[str, ...]
    side: str
    equal: tuple[Equal, ...]
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    together: tuple[str, ...] = ()

    def without(self, absent: Collection[str]) -> Layout:
        """The layout of a folder that lacks components, and with them what they have to agree with."""

        def there(equal: Equal) -> bool:
            return not any(name.partition(".")[0] in absent for name in (equal.whole, *equal.parts))

        return replace(
            self,
            networks=tuple(name for name in self.networks if name not in absent),
            others=tuple(name for name in self.others if name not in absent),
            equal=tuple(filter(there, self.equal)),
        )


_LATENTS = tuple(
    Equal(f"unet.{name}", ("vae.latent_channels",), "channels of a latent") for name in ("in_channels", "out_channels")
)
_NOTHING_ELSE_TOLD: dict[str, tuple[Any, ...]] = {
    "unet.class_embed_type": (None,),
    "unet.encoder_hid_dim": (None,),
    "unet.num_class_embeds": (None,),
    "unet.time_cond_proj_dim": (None,),
}

_ONE_SHIFT: dict[str, tuple[Any, ...]] = {
    "scheduler._class_name": FLOW_CLASSES,
    "scheduler.num_train_timesteps": (1000,),
    "scheduler.use_dynamic_shifting": (None, False),
    "scheduler.shift_terminal": (None,),
}

LAYOUTS: dict[str, Layout] = {
    "StableDiffusionPipeline": Layout(
        networks=("unet", "vae", "text_encoder"),
        others=("tokenizer", "scheduler"),
        side="unet.sample_size",
        equal=(
            *_LATENTS,
            Equal("unet.cross_attention_dim", ("text_encoder.hidden_size",), "width of the text"),
        ),
        only={
            "unet.addition_embed_type": (None,),
            "text_encoder.use_attention_mask": (None, False),
            **_NOTHING_ELSE_TOLD,
        },
    ),
    "StableDiffusionXLPipeline": Layout(
        networks=("unet", "vae", "text_encoder", "text_encoder_2"),
        others=("tokenizer", "tokenizer_2", "scheduler"),
        side="unet.sample_size",
        equal=(
            *_LATENTS,
            Equal(
                "unet.cross_attention_dim",
                ("text_encoder.hidden_size", "text_encoder_2.hidden_size"),
                "width of the text",
            ),
            Equal(
                "unet.projection_class_embeddings_input_dim",
                ("text_encoder_2.projection_dim", *["unet.addition_time_embed_dim"] * 6),
                "width of the pooled text and of the six numbers of a size",
            ),
        ),
        only={
            "unet.addition_embed_type": ("text_time",),
            "vae.latents_mean": (None,),
            "vae.latents_std": (None,),
            **_NOTHING_ELSE_TOLD,
        },
    ),
    "StableDiffusion3Pipeline": Layout(
        networks=("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"),
        others=("tokenizer", "tokenizer_2", "tokenizer_3", "scheduler"),
        side="transformer.sample_size",
        equal=(
            Equal("transformer.in_channels", ("vae.latent_channels",), "channels of a latent"),
            Equal("transformer.out_channels", ("vae.latent_channels",), "channels of a latent"),
            Equal("transformer.joint_attention_dim", ("text_encoder_3.d_model",), "width of the text"),
            Equal(
                "transformer.pooled_projection_dim",
                ("text_encoder.projection_dim", "text_encoder_2.projection_dim"),
                "width of the pooled text",
            ),
        ),
        only=_ONE_SHIFT,
        together=("text_encoder_3", "tokenizer_3"),
    ),
}
"""By ``_class_name`` in model_index.json."""
