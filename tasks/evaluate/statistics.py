"""What is kept of each picture: a statistic is a function of what the judges saw, its tensor goes into the shard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from models.clip import Clip, cosine
from models.judges.pixels import Features
from models.mini.reader import AttributeReader, attribute_hits, read_attributes


@dataclass(frozen=True)
class Judges:
    """The frozen networks that look at pictures; ``reader`` knows the miniature world, None beside other captions.

    ``features`` are kept of each picture, by the name they are kept under: what a distance between sets takes.
    """

    clip: Clip
    prompt_prefix: str
    features: Mapping[str, Features]
    reader: AttributeReader | None

    def look(self, pictures: Tensor, *names: str) -> dict[str, Tensor]:
        """What networks make of uint8 pictures, float32 [B, D] by name, the CLIP's as "image"; each looks once."""
        networks = {**self.features, "image": self.clip.image_features}
        seen = {network: network(pictures) for network in {networks[name] for name in names}}
        return {name: seen[networks[name]] for name in names}

    def read(self, prompts: Sequence[str]) -> Tensor:
        """The CLIP's features of prompts with their prefix, float32 [B, E]."""
        return self.clip.text_features([self.prompt_prefix + prompt for prompt in prompts])


@dataclass(frozen=True)
class Seen:
    """A batch of uint8 pictures [B, 3, H, W] with their prompts, and what the judges make of both.

    ``features`` [B, D] are by their names, among them "image", the CLIP's; ``texts`` [B, E] are the prompts'.
    """

    judges: Judges
    pictures: Tensor
    prompts: Sequence[str]
    texts: Tensor
    features: Mapping[str, Tensor]

    @classmethod
    def of(cls, judges: Judges, pictures: Tensor, prompts: Sequence[str], texts: Tensor) -> Seen:
        """What all judges make of them."""
        return cls(judges, pictures, prompts, texts, judges.look(pictures, *judges.features, "image"))


def kept(name: str) -> Callable[[Seen], Tensor | None]:
    """The features of a name, float32 [B, D]; None where nobody asks for them."""
    return lambda seen: seen.features.get(name)


def clip_scores(seen: Seen) -> Tensor:
    """Cosine of each picture and its prompt, float64 [B]."""
    return cosine(seen.features["image"], seen.texts).double()


def hits(seen: Seen) -> Tensor | None:
    """How many of its prompt's attributes each picture shows, and how many are told, int [B, 2]; None elsewhere."""
    if seen.judges.reader is None:
        return None
    return attribute_hits(read_attributes(seen.judges.reader, seen.pictures), seen.prompts)


STATISTICS: dict[str, Callable[[Seen], Tensor | None]] = {
    "features": kept("features"),
    "dinov2": kept("dinov2"),
    "cmmd": kept("cmmd"),
    "clip_scores": clip_scores,
    "hits": hits,
}
