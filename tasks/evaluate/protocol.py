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
from tasks.sections import EvaluateJob


def protocol(
    config: EvaluateJob, inputs: Mapping[str, Source], annotations: Path, teacher: TextToImage, resize: Resize
) -> dict[str, JsonValue]:
    """What stands beside every number (method, section 5)."""
    return {
        "captions": {
            "file": annotations.name,
            "sha256": sha256_file(annotations),
            "rule": "lowest annotation id with words per image",
        },
        "num_images": config.num_images,
        "seeds": f"per image: sha256 of '{config.seed}/evaluate/<index>'",
        "reference": f"teacher, {config.teacher_steps} steps, the next {config.num_images} captions, other seeds",
        "reference_coco": "the captions' own pictures; upright, transparency on white, centre crop on the long edge; "
        f"{resize}",
        "floor": "teacher against the reference: two disjoint sets of the teacher's own pictures",
        "straightness": f"per element, guided, Euler {config.teacher_steps} steps, N {config.straightness_images}",
        "distance_to_own_teacher": "mean squared per element of latents from the same noise; the student's teacher is "
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
        "versions": {name: version(name) for name in ("torch", "diffusers", "open_clip_torch", "torch-fidelity")},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {_accelerator()}",
    }


def _digest(inputs: Mapping[str, Source], mini: bool, weights: str | None) -> str:
    return inputs["clip"].digest if mini else sha256_file(Path(weights or ""))


def _accelerator() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
