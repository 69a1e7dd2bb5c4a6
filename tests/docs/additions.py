"""The additions that docs/architecture.md shows, applied to a copy of the tree and run there."""

from __future__ import annotations

import json
import re
from pathlib import Path

HUNK = re.compile(r"^@@.*\n", re.MULTILINE)


def apply(page: str, root: Path) -> list[str]:
    """Do what the page's diffs say to the files below `root`; the files. A hunk has to fit one place, and one only."""
    changed = []
    for diff in re.findall(r"```diff\n(.*?)```", page, re.DOTALL):
        for part in re.split(r"^--- .*\n", diff, flags=re.MULTILINE)[1:]:
            head, *hunks = HUNK.split(part)
            file = root / head.strip().removeprefix("+++ b/")
            for hunk in hunks:
                _apply(hunk, file)
            changed.append(str(file.relative_to(root)))
    return changed


def _apply(hunk: str, file: Path) -> None:
    lines = hunk.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] != "+")
    after = "".join(line[1:] for line in lines if line[0] != "-")
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    if before:
        assert text.count(before) == 1, f"{file}: {text.count(before)} places for\n{before}"
        text = text.replace(before, after)
    else:
        text = after
    file.write_text(text, encoding="utf-8")


def run() -> None:
    """The whole chain on the golden teacher, in this process; what the additions made of it, as JSON."""
    from flows.cli.metrics_table import metrics_table
    from flows.recipes import chain_of, load_recipe
    from flows.run.planner import plan
    from flows.run.stage_flow import STAGE_FLOWS
    from flows.run.terminal import results
    from infra.store import open_store
    from tasks.evaluate.measured import read_metrics
    from tests.docs.reference import DOCS, filled
    from tests.golden.test_store import Here

    chain = chain_of(load_recipe("golden.yaml", ["reflow.loss=l1", "prompts.seed=5"]))
    do = Here(open_store("new"))
    planned = {line.id: f"{line.state} {line.total} {line.unit}" for line in plan(chain, do.store)}
    chain.replay(do)
    metrics = read_metrics(do.made["evaluate"].fetch("metrics.json"))
    screen = results()
    with screen.capture() as table:
        screen.print(metrics_table(metrics))
    told = {
        "planned": planned,
        "flow": "vocabulary" in STAGE_FLOWS,
        "loss": do.made["reflow-1"].manifest.config["loss"],
        "words": json.loads(do.made["vocabulary"].fetch("words.json").read_text()),
        "brightness": [record.number("brightness") for record in metrics.records],
        "table": table.get(),
        "page": "Brightness" in do.made["report"].fetch("report.html").read_text(encoding="utf-8"),
        "docs": "`brightness`" in filled((DOCS / "metrics.md").read_text(encoding="utf-8")),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    run()
