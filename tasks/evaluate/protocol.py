"""The evaluation protocol: what stands beside every number, which says nothing without it (method, section 5)."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import JsonValue

from infra.artifact import Folder, Source
from infra.artifact.fingerprint import sha256_file
from models.judges.kid import SUBSET_SIZE, SUBSETS
from models.pipelines.text_to_image import TextToImage
from models.resizing import Resize
from tasks.evaluate.bootstrap import FEW_REPLICATES, REPLICATES, TWO_SIDED_95, WIDE
from tasks.evaluate.cells import LATENCY_ROUNDS, present, simulated
from tasks.evaluate.independence import trained_with
from tasks.evaluate.speed import RATE_ROUNDS
from tasks.sections import NEIGHBOURS, Clip, EvaluateJob

_INTERVALS = (
    f"95 %: {TWO_SIDED_95} standard deviations of {REPLICATES} bootstrap replicates over pictures "
    f"({FEW_REPLICATES} for features of more than {WIDE} dimensions), of times over {LATENCY_ROUNDS} rounds and "
    f"{RATE_ROUNDS} of a batch"
)


class Counts(NamedTuple):
    """Pictures that have a caption, and real pictures that the judges looked at."""

    captions: int
    real: int


def protocol(
    config: EvaluateJob,
    inputs: Mapping[str, Source],
    annotations: Path,
    counts: Counts,
    teacher: TextToImage | Sequence[Path],
    resize: Resize,
) -> dict[str, JsonValue]:
    """What stands beside every number (method, section 5).

    ``teacher`` is the model of the first role, or the files of pictures that were drawn elsewhere.
    """
    return {
        **_captions(config, annotations, counts),
        **_models(config, inputs, teacher),
        **_compared(config, annotations, counts, resize),
        "intervals": _INTERVALS,
        **_latents(config, inputs),
        **_drawn(teacher, resize),
        "size": resize.size,
        **_judges(config, inputs),
        "versions": {name: version(name) for name in ("torch", "diffusers", "open_clip_torch", "torch-fidelity")},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {_accelerator()}",
    }


def _captions(config: EvaluateJob, annotations: Path, counts: Counts) -> dict[str, JsonValue]:
    """What the models are told."""
    return {
        "captions": {
            "file": annotations.name,
            "sha256": sha256_file(annotations),
            "rule": "lowest annotation id with words per image",
            "pictures": counts.captions,
        },
        "num_images": config.num_images,
        "evaluated": _own(config, counts),
    }


def _own(config: EvaluateJob, counts: Counts) -> str:
    return f"captions 1 to {config.num_images} of {counts.captions}"


def _models(
    config: EvaluateJob, inputs: Mapping[str, Source], teacher: TextToImage | Sequence[Path]
) -> dict[str, JsonValue]:
    """Who is measured, and from which noise."""
    seeds = f"per image: sha256 of '{config.seed}/evaluate/<index>', numpy's Philox"
    return {
        "measured": {role.name: inputs[role.input].digest for role in present(config, inputs)},
        "seeds": None if isinstance(teacher, Sequence) else seeds,
    }


def _compared(config: EvaluateJob, annotations: Path, counts: Counts, resize: Resize) -> dict[str, JsonValue]:
    """The sets of pictures that the distances are to."""
    count, has_reference = config.num_images, config.reference != "none"
    own, others = _own(config, counts), f"captions {count + 1} to {2 * count} of {counts.captions}"
    real, rest = f"own pictures of {own}", "reference_coco"
    if config.real == "split":
        real, rest = f"all {counts.real} pictures of {annotations.name}", "all other pictures of reference_coco"
    floor = f"teacher: {own} against the reference; real: own pictures of {others} against {rest}"
    return {
        "reference": f"teacher, {config.teacher_steps} steps, {others}, other seeds" if has_reference else None,
        "reference_coco": f"{real}; upright, transparency on white, centre crop on the long edge; {resize}",
        "floor": floor if has_reference else None,
    }


def _latents(config: EvaluateJob, inputs: Mapping[str, Source]) -> dict[str, JsonValue]:
    """How the numbers that look at no pictures are made."""
    steps, has_own_teacher = config.teacher_steps, any(role.own_teacher for role in present(config, inputs))
    straightness = f"per element, guided, Euler {steps} steps, N {config.straightness_images}"
    distance = f"squared per element of latents from the same noise; the student's teacher is the 2-RF at {steps} steps"
    return {
        "straightness": straightness if simulated(config, inputs) else None,
        "distance_to_own_teacher": distance if has_own_teacher else None,
    }


def _judges(config: EvaluateJob, inputs: Mapping[str, Source]) -> dict[str, JsonValue]:
    """What looks at the pictures, and what it has been trained with."""
    return {
        "real": {"set": config.real, "digest": inputs["real"].digest},
        "features": config.features,
        "features_resize": config.inception_resize if config.features == "inception" else "PIL, the network's own",
        "features_digest": _digest(inputs, config.features == "mini", config.inception_weights),
        "clip": {**_clip(inputs, config.clip), "prompt_prefix": config.clip.prompt_prefix, "scale": "cosine x 1"},
        "extras": dict(_extras(inputs, config)),
        "trained_with": {role: dict(losses) for role, losses in trained_with(inputs).items()},
    }


def _clip(inputs: Mapping[str, Source], told: Clip) -> dict[str, JsonValue]:
    digest = _digest(inputs, told.architecture == "mini", told.weights)
    return {"architecture": told.architecture, "tag": told.tag, "digest": digest}


def _extras(inputs: Mapping[str, Source], config: EvaluateJob) -> Iterator[tuple[str, JsonValue]]:
    """How each of the further distances is made."""
    if "kid" in config.extras:
        yield "kid", f"the same features, {SUBSETS} subsets of {min(SUBSET_SIZE, config.num_images)}, no interval"
    if "precision_recall" in config.extras:
        yield "precision_recall", f"the same features, {NEIGHBOURS} neighbours; intervals take the balls as given"
    if "dinov2" in config.extras:
        digest = Folder.open(config.dinov2_weights or "").digest
        yield "dinov2", {"digest": digest, "size": "224 px, PIL bicubic, antialiased"}
    if "cmmd" in config.extras and config.cmmd_clip:
        yield "cmmd", {**_clip(inputs, config.cmmd_clip), "scale": "x 1000, no interval"}


def _drawn(by: TextToImage | Sequence[Path], resize: Resize) -> dict[str, JsonValue]:
    """How the pictures came about."""
    if not isinstance(by, Sequence):
        return {
            "dtype": str(by.dtype),
            "autoencoder": by.decoder,
            "pictures": "uint8, never JPEG",
            "safety_checker": "off",
            "generated": f"{by.pixels_per_side} px; {resize}",
        }
    kinds = ", ".join(sorted({path.suffix.lower().lstrip(".") for path in by}))
    return {"pictures": f"drawn elsewhere, {by[0].name} to {by[-1].name} ({kinds})", "generated": str(resize)}


def _digest(inputs: Mapping[str, Source], mini: bool, weights: str | None) -> str:
    return inputs["judge"].digest if mini else sha256_file(Path(weights or "").expanduser())


def _accelerator() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
