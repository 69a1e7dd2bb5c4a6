"""A repository of the Hugging Face hub as a folder: out of the local cache; downloaded when the recipe asks for it."""

from __future__ import annotations

from pathlib import Path

from infra.address import public
from infra.errors import UserError

SCHEME = "hub://"
"""hub://OWNER/NAME@REVISION, as `tasks.sections.ModelSource` writes it; followed by ?download where that is asked."""

_WANTED = ["model_index.json", "*/*.json", "*/*.txt", "*/*.model", "*/*.safetensors"]
_UNWANTED = ["safety_checker/*", "*.non_ema.*"]


def snapshot(address: str) -> Path:
    """The folder of the repository at that revision. Raises UserError when it is not there or cannot be downloaded."""
    from huggingface_hub import snapshot_download

    name, _, asked = address.removeprefix(SCHEME).partition("?")
    repository, _, revision = name.partition("@")
    try:
        folder = snapshot_download(
            repository,
            revision=revision,
            local_files_only=asked != "download",
            allow_patterns=_WANTED,
            ignore_patterns=_UNWANTED,
        )
    except (OSError, ValueError) as error:
        raise UserError(_remedy(repository, revision, asked == "download", error)) from error
    return Path(folder)


def _remedy(repository: str, revision: str, asked: bool, error: Exception) -> str:
    if asked:
        why = public(str(error).strip().splitlines()[0])  # redirects are signed
        return f"{repository} at {revision} cannot be downloaded: {why}"
    return (
        f"{repository} at {revision} is not in the hub's cache, and nothing is downloaded unasked. Set `download`"
        f" beside its path to true, or: hf download {repository} --revision {revision}"
    )
