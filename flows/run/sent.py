"""What a pipeline tells a stage that it sends to another worker, and what that worker makes sure of."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from pydantic import Field

from infra.artifact import Source
from infra.errors import UserError
from infra.recipe import Section
from tasks.share import Share


class Sent(Section):
    """Filled in by the pipeline that sends a stage to a work pool; whoever starts a stage alone leaves it empty."""

    recipe: str = Field(description="in whose name the stage is done")
    run: str | None = Field(default=None, description="the pipeline's run record")
    given: str | None = Field(default=None, description="stands for all that the pipeline was given")
    teacher: str | None = Field(default=None, description="the pipeline's teacher, as its recipe names it")
    teacher_digest: str | None = Field(default=None, description="what that teacher is, by content")
    digests: dict[str, str] = Field(default={}, description="of each input by role, as the pipeline has it")
    share: Share | None = Field(default=None, description="the part of the units to make; null: the whole stage")


def called(stage_id: str, share: Share | None) -> str:
    """What the run of a stage, or of a share of it, is called."""
    return stage_id if share is None else f"{stage_id} {share}"


def require_same_inputs(stage_id: str, inputs: Mapping[str, Source], sent: Sent | None) -> None:
    """Raise UserError naming an input whose content is another one here than where the pipeline runs."""
    for role, source in inputs.items():
        expected = sent.digests.get(role) if sent else None
        if expected is not None and source.digest != expected:
            raise UserError(
                f"stage {stage_id}: inputs: {role}: {source.uri} has the digest {source.digest[:12]} here, on"
                f" {socket.gethostname()}, and {expected[:12]} where the pipeline runs: these are two different things."
                " Copy one over the other, or put the folder into the store: instaflow artifacts add FOLDER."
            )
