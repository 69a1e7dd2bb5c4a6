"""What is kept of each picture: a statistic is a function of what the judges saw, its tensor goes into the shard."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from models.clip import Clip, cosine
from models.judges.pixels import Features
from models.mini.reader import AttributeReader, attribute_hits, read_attributes


@dataclass(frozen=True)
class Judges:
    """The frozen networks that look at pictures; ``reader`` knows the miniature world, None beside other captions.

    ``features`` is what the Frechet distance sees, None for the CLIP's own image features.
    """

    features: Features | None
    clip: Clip
    prompt_prefix: str
    reader: AttributeReader | None

    def look(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """The Frechet distance's features and the CLIP's image features of uint8 pictures, [B, D] each."""
        image = self.clip.image_features(pictures)
        return (self.features(pictures) if self.features else image), image


@dataclass(frozen=True)
class Seen:
    """A batch of uint8 pictures [B, 3, H, W] with their prompts and what the judges make of them.

    ``features`` [B, D] are what a Frechet distance is taken of, ``image`` [B, E] the CLIP's image features.
    """

    judges: Judges
    pictures: Tensor
    prompts: Sequence[str]
    features: Tensor
    image: Tensor


def features(seen: Seen) -> Tensor:
    """What a Frechet distance is taken of, float32 [B, D]."""
    return seen.features.float().cpu()


def clip_scores(seen: Seen) -> Tensor:
    """Cosine of each picture and its prompt, float64 [B]."""
    texts = [seen.judges.prompt_prefix + prompt for prompt in seen.prompts]
    return cosine(seen.image, seen.judges.clip.text_features(texts)).double().cpu()


def hits(seen: Seen) -> Tensor | None:
    """How many of its prompt's attributes each picture shows, and how many are told, int [B, 2]; None elsewhere."""
    if seen.judges.reader is None:
        return None
    return attribute_hits(read_attributes(seen.judges.reader, seen.pictures), seen.prompts)


STATISTICS: dict[str, Callable[[Seen], Tensor | None]] = {
    "features": features,
    "clip_scores": clip_scores,
    "hits": hits,
}
