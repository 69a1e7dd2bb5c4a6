"""The tags of runs."""

from __future__ import annotations

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from flows.server.connection import connected
from flows.server.tagging import recipe_tags, stage_tags, tag_this_run
from infra.environment import environment


def test_they_say_recipe_stage_fingerprint_and_commit() -> None:
    commit = environment().get("git_commit")
    assert recipe_tags("tiny") == ["recipe:tiny", *([f"commit:{commit[:12]}"] if commit else [])]
    assert stage_tags("pairs-1", "pairs/0123456789abcdef") == ["stage:pairs-1", "fingerprint:0123456789ab"]


@pytest.mark.server
def test_a_run_is_given_more() -> None:
    @flow
    def tagged() -> str:
        tag_this_run(["recipe:tiny"])
        return flow_run.id or ""

    tag_this_run(["outside of one"])
    with connected(), get_client(sync_client=True) as client:
        assert client.read_flow_run(tagged()).tags == ["recipe:tiny"]  # type: ignore[arg-type]
