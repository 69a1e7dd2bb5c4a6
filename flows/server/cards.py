"""What Prefect's pages show of a stage and of a run, as Markdown: tables, pictures in data URIs, graphs of mermaid."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

from flows.algorithms.chain import Chain, Given
from flows.page_names import card_url
from infra.artifact import Artifact
from infra.upkeep.inventory import base_in
from infra.upkeep.runs import RunRecord, StageRun
from infra.words import duration, size
from tasks.sections import EvaluateJob

COLUMNS = 6
"""Pictures a row of the contact sheet: a card is kept in Prefect's database."""

_CLASSES = {"done": "#cfead9", "cached": "#e8ecf0", "failed": "#f8d0cc", "running": "#fdf0c8", "cancelled": "#fdf0c8"}
_log = logging.getLogger(__name__)


def card(artifact: Artifact) -> str:
    """An artifact's place, time, rows and numbers, and what it was made of; of an evaluation its table and pictures."""
    manifest = artifact.manifest
    facts = {
        "artifact": _linked(artifact.base, artifact.uri),
        "digest": f"`{manifest.digest}`",
        "time": duration(manifest.seconds),
        "rows": f"{manifest.rows:,}",
        "size": size(sum(file.bytes for file in manifest.files)),
        **{name: str(value) for name, value in manifest.metrics.items() if not isinstance(value, dict | list)},
    }
    if artifact.stage == "report":
        facts["page"] = f"`instaflow artifacts urls {artifact.base} --glob report.html --store {artifact.store.url}`"
    made_of = [[one.role, _linked(base_in(one.uri), one.uri), f"`{one.digest[:12]}`"] for one in manifest.inputs]
    parts = [*_measured(artifact), _table(("", ""), facts.items())]
    return "\n\n".join([*parts, *([_table(("made of", "", "digest"), made_of)] if made_of else [])])


def _measured(artifact: Artifact) -> Iterator[str]:
    """The numbers and the pictures of an evaluation."""
    if artifact.stage == "evaluate":
        try:
            yield from _evaluation(artifact)
        except Exception as error:  # whatever it is: a card never fails a run
            _log.warning("%s: has no card of its own: %s", artifact.uri, str(error) or type(error).__name__)


def _evaluation(artifact: Artifact) -> Iterator[str]:
    from tasks.evaluate.cells import cells
    from tasks.evaluate.measured import read_metrics, shown, shown_with_interval, with_label
    from tasks.report.contact_sheet import draw, read_contact_sheet

    metrics = read_metrics(artifact.fetch("metrics.json"))
    columns = with_label(metrics.records)
    rows = [
        [one.model, shown(one.steps), shown(one.guidance), *(shown_with_interval(one, metric) for metric in columns)]
        for one in metrics.records
    ]
    yield _table(("model", "steps", "guidance", *(metric.label or metric.heading for metric in columns)), rows)
    yield f"Times {metrics.beside}." if metrics.beside else ""
    told = EvaluateJob.model_validate_json(json.dumps(artifact.manifest.config))
    there = cells(told, [record.role for record in artifact.manifest.inputs])
    tensors, prompts = (artifact.fetch(name) for name in ("contact.safetensors", "contact.json"))
    picture = io.BytesIO()
    draw(read_contact_sheet(tensors, prompts, COLUMNS, there)).save(picture, "JPEG", quality=85)
    yield f"![contact sheet](data:image/jpeg;base64,{base64.b64encode(picture.getvalue()).decode()})"


def lineage(chain: Chain, record: RunRecord, made: Mapping[str, Artifact]) -> str:
    """What was made from what in a run: a table that says of each stage how it ended and why it ran, then a graph.

    Prefect's first pages show the graph's source instead.
    """
    runs = {stage.stage: stage for stage in record.stages}
    rows = [[stage.stage, *_told(stage), _rows(made.get(stage.stage))] for stage in record.stages]
    table = _table(("stage", "state", "time", "artifact", "why", "rows"), rows)
    return "\n\n".join([table, "\n".join(["```mermaid", "flowchart LR", *_graph(chain, runs), "```"])])


def _told(stage: StageRun) -> Iterator[str]:
    yield from (stage.state, duration(stage.seconds), _linked(stage.artifact, stage.artifact))
    yield stage.error or stage.reason or ("made before" if stage.state == "cached" else "")


def _linked(base: str | None, text: str) -> str:
    """What an artifact is called, with a link to its card where a dashboard is named."""
    url = card_url(base) if base else None
    return f"[`{text}`]({url})" if url else f"`{text}`"


def _rows(artifact: Artifact | None) -> str:
    return f"{artifact.manifest.rows:,}" if artifact else ""


def _graph(chain: Chain, runs: Mapping[str, StageRun]) -> Iterator[str]:
    given = {one: f"given{number}" for number, one in enumerate(chain.given())}
    ids = {stage_id: f"stage{number}" for number, stage_id in enumerate(chain.nodes)}
    yield from (f'{mark}(["{_quoted(one.path)}<br/>{one.tree}"])' for one, mark in given.items())
    for stage_id, mark in ids.items():
        stage = runs.get(stage_id)
        state = f"{stage.state}, {duration(stage.seconds)}" if stage else "left out"
        yield f'{mark}["{_quoted(stage_id)}<br/>{state}"]' + (f":::{stage.state}" if stage else "")
    for node in chain.nodes.values():
        for source in dict.fromkeys(node.inputs.values()):
            yield f"{given[source] if isinstance(source, Given) else ids[source]} --> {ids[node.id]}"
    yield from (f"classDef {state} fill:{colour},stroke:#5c6670,color:#1c2127" for state, colour in _CLASSES.items())


def _quoted(text: str) -> str:
    """Text as a label of mermaid takes it: a character that means something there by its number."""
    return "".join(one if one.isalnum() or one in " ._-/:" else f"#{ord(one)};" for one in text)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(one) for one in line)} |" for line in lines)


def _cell(text: str) -> str:
    """Text that ends no cell and no line."""
    return " ".join(text.replace("|", r"\|").split())
