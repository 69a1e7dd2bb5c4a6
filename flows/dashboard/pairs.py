"""The pages of the training data: what the pairs of an artifact look like, what they say, what was rejected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from PIL import Image
from pydantic import JsonValue

from flows.dashboard import charts
from flows.dashboard.pair_sample import Array, PairSample, Rejected, looks_at_rejected, pair_sample, rejected
from flows.dashboard.render import render
from flows.observed.known import Known
from flows.observed.whole import small_file
from infra.artifact import Artifact
from infra.artifact.manifest import FileRecord
from tasks.data.strip import side_by_side

NEWEST, SHOWN, EXAMPLES, LOOKS, BINS = 8, 8, 12, 3, 24
"""Artifacts that have a page; pairs and rejected ones shown; shards of which those are drawn; bars of a histogram."""


@dataclass(frozen=True)
class Page:
    """An artifact of pairs and where its page lies."""

    artifact: Artifact
    path: str


def pair_pages(known: Known) -> Iterator[tuple[str, bytes | None]]:
    """Path and content of the pages about pairs and of their pictures; None for one that is there.

    Raises StoreError.
    """
    pages, total = newest(known), len(_made(known))
    if not pages:
        yield "pairs.html", render("pairs.html.j2", "pairs.html", room="Pairs", known=known, page=None)
    for page in pages:
        yield from _page(known, page, pages, total)


def newest(known: Known) -> list[Page]:
    """The artifacts of pairs that have a page, the newest first."""
    made = sorted(_made(known), key=lambda one: one.manifest.finished_at, reverse=True)[:NEWEST]
    return [
        Page(one, f"pairs-of-{one.fingerprint[:16]}.html" if number else "pairs.html")
        for number, one in enumerate(made)
    ]


def _made(known: Known) -> list[Artifact]:
    return [artifact for artifact in known.seen.artifacts.values() if artifact.stage == "pairs"]


def _page(known: Known, page: Page, pages: Sequence[Page], total: int) -> Iterator[tuple[str, bytes | None]]:
    sample, quarantine = pair_sample(page.artifact), rejected(page.artifact)
    pictures: dict[str, str] = {}
    for name, path, data in _pictures(known, page.artifact, sample) if sample else ():
        pictures[name] = path
        yield path, data
    looks: list[tuple[str, Sequence[Rejected]]] = []
    for file, found in looks_at_rejected(page.artifact, LOOKS):
        for path, data in _left(known, page.artifact, file):
            looks.append((path, found[:SHOWN]))
            yield path, data
    reasons = Counter(one.reason for one in quarantine)
    yield (
        page.path,
        render(
            "pairs.html.j2",
            page.path,
            room="Pairs",
            known=known,
            page=page,
            pages=pages,
            total=total,
            sample=sample,
            pictures=pictures,
            shown=SHOWN,
            figures=[*_figures(sample)] if sample else [],
            reasons=reasons.most_common(EXAMPLES),
            examples=quarantine[:EXAMPLES],
            rejected=len(quarantine),
            looks=looks,
            counted=_counted(known, page.artifact),
        ),
    )


def _pictures(known: Known, artifact: Artifact, sample: PairSample) -> Iterator[tuple[str, str, bytes | None]]:
    """Of the first pairs: what it is, where it lies, the bytes."""
    for name, arrays in (("noise", sample.noise), ("latent", sample.latent)):
        path = f"pictures/{sample.shard.sha256[:16]}-{name}.webp"
        yield name, path, None if path in known.kept else _strip(arrays)
    for path, data in _left(known, artifact, sample.decoded) if sample.decoded else ():
        yield "picture", path, data


def _left(known: Known, artifact: Artifact, file: FileRecord) -> Iterator[tuple[str, bytes | None]]:
    """A picture that the stage left, as it is; nothing where it is missing or damaged."""
    path = f"pictures/{file.sha256[:16]}.webp"
    if path in known.kept:
        yield path, None
    elif data := small_file(artifact, file):
        yield path, data


def _strip(arrays: Array) -> bytes:
    """The first three channels of the first pairs as red, green and blue, each over its range in all of them."""
    channels = np.nan_to_num(arrays[:SHOWN, :3])
    if channels.shape[1] < 3:
        channels = channels[:, :1].repeat(3, 1)
    low, high = (np.quantile(channels, share, axis=(0, 2, 3), keepdims=True) for share in (0.01, 0.99))
    scaled = 255 * (channels - low) / np.maximum(high - low, 1e-6)
    pictures = np.clip(scaled, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return side_by_side([Image.fromarray(picture) for picture in pictures])


def _figures(sample: PairSample) -> Iterator[tuple[str, Markup]]:
    """How large noise and latents are, and how long the prompts."""
    for name, arrays in (("noise", sample.noise), ("latent", sample.latent)):
        norms = np.sqrt(np.mean(np.square(arrays, dtype=np.float64), axis=(1, 2, 3)))
        yield from _histogram(f"norm of the {name} over √n", norms[np.isfinite(norms)].tolist())
    yield from _histogram("words of a prompt", [float(len(prompt.split())) for prompt in sample.prompts])


def _histogram(name: str, values: Sequence[float]) -> Iterator[tuple[str, Markup]]:
    if not values:
        return
    counts, edges = np.histogram(values, bins=min(BINS, len({*values})))
    told = f"{name}: {min(values):.3g} to {max(values):.3g}, median {float(np.median(values)):.3g}"
    yield told, charts.bars(name, counts.tolist(), float(edges[0]), float(edges[-1]), name)


def _counted(known: Known, artifact: Artifact) -> list[tuple[str, JsonValue]]:
    """What the sampling of the prompts counted: read, dropped by which filter, kept."""
    bases = [one.base for one in known.lineage.inputs[artifact.base] if one.base and one.record.role == "prompts"]
    found = [known.seen.artifacts[base] for base in bases if base in known.seen.artifacts]
    return [(name, value) for one in found for name, value in one.manifest.metrics.items()][:40]
