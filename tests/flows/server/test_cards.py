"""What Prefect's pages show is what the artifacts are, whatever they are called."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import pytest
from PIL import Image

from flows.page_names import URL, card_path
from flows.recipes import chain_of, parse_recipe
from flows.server.cards import card, lineage
from infra.artifact import Artifact
from infra.store import open_store
from infra.upkeep.runs import RunRecord, StageRun
from tests.infra.chain import make, make_chain
from tests.tasks import small_run

CHAIN = chain_of(parse_recipe({"name": "test", "teacher": {"path": '/models/a "b"|c'}}, "test"))


def test_a_card_says_what_an_artifact_is_and_what_it_was_made_of(tmp_path: Path) -> None:
    made = make_chain(open_store(tmp_path / "store"), tmp_path / "teacher")["pairs-1"]
    lines = card(made).splitlines()
    assert f"| artifact | `{made.uri}` |" in lines and "| rows | 4 |" in lines and "| mean | 0.5 |" in lines
    for one in made.manifest.inputs:
        assert f"| {one.role} | `{one.uri}` | `{one.digest[:12]}` |" in lines


def test_cards_link_to_the_dashboard_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, "http://127.0.0.1:4210/")
    made = make_chain(open_store(tmp_path / "store"), tmp_path / "teacher")
    text, prompts = card(made["pairs-1"]), made["prompts"]
    assert f"| artifact | [`{made['pairs-1'].uri}`](http://127.0.0.1:4210/{card_path(made['pairs-1'].base)}) |" in text
    assert f"| prompts | [`{prompts.uri}`](http://127.0.0.1:4210/{card_path(prompts.base)}) |" in text
    assert f"| teacher | `{tmp_path / 'teacher'}` |" in text.replace("file://", ""), "a folder has no card"


def test_the_card_of_an_evaluation_has_its_table_and_its_pictures(tmp_path: Path) -> None:
    evaluation = small_run.run(open_store(tmp_path / "store"), tmp_path / "made", [small_run.NASTY])["evaluate"]
    assert isinstance(evaluation, Artifact)
    text = card(evaluation)
    rows = [line for line in text.partition("![")[0].splitlines() if line.startswith("| student ")]
    assert len(rows) == 1 and "Frechet" in text.splitlines()[0] and "| student | 1 | 1 |" in rows[0]
    (picture,) = re.findall(r"!\[contact sheet\]\(data:image/jpeg;base64,([^)]+)\)", text)
    assert min(Image.open(io.BytesIO(base64.b64decode(picture))).size) > 200


def test_an_evaluation_that_cannot_be_drawn_has_a_card_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = make(open_store(tmp_path / "store"), "evaluate", {})
    assert f"| artifact | `{made.uri}` |" in card(made) and "has no card of its own" in caplog.text


def test_the_report_s_card_says_how_to_find_the_page(tmp_path: Path) -> None:
    made = make(open_store(tmp_path / "store"), "report", {})
    assert f"instaflow artifacts urls {made.base} --glob report.html --store {made.store.url}" in card(made)


def test_a_run_is_a_graph_and_a_table_that_says_why(tmp_path: Path) -> None:
    artifacts = {"prompts": make(open_store(tmp_path / "store"), "prompts", {})}
    stages = [
        StageRun(stage="world", artifact="world/0123456789abcdef", state="cached"),
        StageRun(stage="prompts", artifact=artifacts["prompts"].base, state="done", seconds=2, reason="seed: 0 -> 5"),
        StageRun(
            stage="pairs-1",
            artifact="pairs/0123456789abcdef",
            state="failed",
            reason="steps: 4 -> 2",
            error="no | room",
        ),
    ]
    record = RunRecord(run_id="a", recipe="test", state="running", started_at="2026-01-01T00:00:00", stages=stages)
    text = lineage(CHAIN, record, artifacts)
    table, _, graph = text.partition("\n\n```mermaid\n")
    ids = dict(re.findall(r'(stage\d+)\["([\w-]+)<br/>', graph))
    assert {*ids.values()} == CHAIN.nodes.keys() and "done, 2.0 s" in graph and graph.count("left out") == len(ids) - 3
    edges = {(ids.get(one, one), ids[other]) for one, other in re.findall(r"(\w+) --> (\w+)", graph)}
    assert ("prompts", "pairs-1") in edges and ("given0", "pairs-1") in edges
    assert 'given0(["/models/a #34;b#34;#124;c<br/>model"])' in graph, "a name draws nothing"
    rows = {row.split(" | ")[0]: row for row in table.splitlines()[2:]}
    assert "made before" in rows["| world"] and "seed: 0 -> 5 | 4 |" in rows["| prompts"]
    assert r"no \| room" in rows["| pairs-1"], "what went wrong, before why it ran"
