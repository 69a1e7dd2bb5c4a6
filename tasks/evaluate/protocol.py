"""The evaluation protocol: what stands beside every number, which says nothing without it (method, section 5)."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import JsonValue

from infra.artifact import Source
from infra.artifact.fingerprint import sha256_file
from models.pipelines.text_to_image import TextToImage
from models.resizing import Resize
from tasks.evaluate.bootstrap import FEW_REPLICATES, REPLICATES, TWO_SIDED_95, WIDE
from tasks.evaluate.cells import LATENCY_ROUNDS
from tasks.evaluate.independence import trained_with
from tasks.evaluate.speed import RATE_ROUNDS
from tasks.sections import EvaluateJob


def protocol(
    config: EvaluateJob,
    inputs: Mapping[str, Source],
    annotations: Path,
    captions: int,
    teacher: TextToImage,
    resize: Resize,
) -> dict[str, JsonValue]:
    """What stands beside every number (method, section 5); ``captions`` are the pictures that have one."""
    count, has_reference = config.num_images, config.reference != "none"
    own, others = f"captions 1 to {count} of {captions}", f"captions {count + 1} to {2 * count} of {captions}"
    return {
        "captions": {
            "file": annotations.name,
            "sha256": sha256_file(annotations),
            "rule": "lowest annotation id with words per image",
            "pictures": captions,
        },
        "num_images": count,
        "evaluated": own,
        "seeds": f"per image: sha256 of '{config.seed}/evaluate/<index>', numpy's Philox",
        "reference": f"teacher, {config.teacher_steps} steps, {others}, other seeds" if has_reference else None,
        "reference_coco": f"own pictures of {own}; upright, transparency on white, centre crop on the long edge; "
        f"{resize}",
        "floor": f"teacher: {own} against the reference; real: own pictures of {others} against reference_coco"
        if has_reference
        else None,
        "intervals": f"95 %: {TWO_SIDED_95} standard deviations of {REPLICATES} bootstrap replicates over pictures "
        f"({FEW_REPLICATES} for features of more than {WIDE} dimensions), of times over {LATENCY_ROUNDS} rounds and "
        f"{RATE_ROUNDS} of a batch",
        "straightness": f"per element, guided, Euler {config.teacher_steps} steps, N {config.straightness_images}",
        "distance_to_own_teacher": "squared per element of latents from the same noise; the student's teacher is "
        f"the 2-RF at {config.teacher_steps} steps",
        "dtype": str(teacher.dtype),
        "autoencoder": teacher.decoder,
        "pictures": "uint8, never JPEG",
        "safety_checker": "off",
        "size": resize.size,
        "generated": f"{teacher.pixels_per_side} px; {resize}",
        "features": config.features,
        "features_resize": config.inception_resize if config.features == "inception" else "PIL, the network's own",
        "features_digest": _digest(inputs, config.features == "mini", config.inception_weights),
        "clip": {
            "architecture": config.clip.architecture,
            "tag": config.clip.tag,
            "prompt_prefix": config.clip.prompt_prefix,
            "scale": "cosine x 1",
            "digest": _digest(inputs, config.clip.architecture == "mini", config.clip.weights),
        },
        "trained_with": {role: dict(losses) for role, losses in trained_with(inputs).items()},
        "versions": {name: version(name) for name in ("torch", "diffusers", "open_clip_torch", "torch-fidelity")},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {_accelerator()}",
    }


def _digest(inputs: Mapping[str, Source], mini: bool, weights: str | None) -> str:
    return inputs["judge"].digest if mini else sha256_file(Path(weights or ""))


def _accelerator() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
