"""The tags by which runs are found in Prefect's pages: recipe, stage, fingerprint, commit."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import get_client

from infra.environment import environment


def recipe_tags(recipe: str) -> list[str]:
    """Of everything that is run for a recipe."""
    return [f"recipe:{recipe}", *_commit()]


def stage_tags(stage_id: str, base: str) -> list[str]:
    """Of a run of the stage that makes the artifact `base` (stage/fingerprint)."""
    return [f"stage:{stage_id}", f"fingerprint:{base.rpartition('/')[2][:12]}"]


def _commit() -> Iterator[str]:
    if commit := environment().get("git_commit"):
        yield f"commit:{commit[:12]}"


def tag_this_run(tags: list[str]) -> None:
    """Add tags to the flow run that this is called in."""
    flow_run = runtime.flow_run.id
    if flow_run is not None:
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(flow_run), tags={*runtime.flow_run.tags, *tags})
