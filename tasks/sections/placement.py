"""Where a stage is done: never what is done."""

from __future__ import annotations

from pydantic import Field

from infra.recipe import Count, Section


class Place(Section):
    """Where one stage is done, and by how many."""

    pool: str | None = Field(
        default=None,
        min_length=1,
        description="Prefect work pool that the stage is sent to; null: it is done where the pipeline runs",
    )
    workers: Count = Field(default=1, description="runs on that pool that share the units of the stage")
    gpus: Count = Field(default=1, description="devices of one worker that a training is spread over")
