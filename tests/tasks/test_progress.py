"""Every stage tells its progress alike: from what is there, piece by piece, to all of it."""

from __future__ import annotations

import pytest

from infra.artifact import Artifact, Folder, Source
from infra.recipe import Section
from infra.store import Store
from tasks.progress import say, silent
from tasks.sections import PromptsJob, TrainClip, World
from tasks.stage import run_stage
from tasks.stages import STAGES
from tests.tasks.conftest import PAIRS, PERF

JOBS: dict[str, Section] = {
    "world": World(val_images=3),
    "prompts": PromptsJob(reflow_count=3, distill_count=2),
    "pairs": PAIRS,
    "clip": TrainClip(steps=3, batch_size=2, reader_steps=2, reader_batch_size=2),
}


@pytest.mark.parametrize("name", JOBS)
def test_it_rises_from_nothing_to_all(
    name: str, store: Store, coco: Artifact, prompts: Artifact, teacher: Folder
) -> None:
    sources: dict[str, Source] = {"coco": coco, "world": coco, "prompts": prompts, "teacher": teacher}
    stage, told = STAGES[name], list[tuple[int, int, str]]()
    inputs = {role: sources[role] for role in stage.inputs}
    run_stage(stage, JOBS[name], inputs, store, PERF, lambda *at: told.append(at))
    counts, totals, pieces = zip(*told, strict=True)
    assert counts[0] == 0 and counts[-1] == totals[0] and [*counts] == sorted(counts)
    assert {*pieces} == {stage.extent(JOBS[name], inputs).piece} and len({*totals}) == 1


def test_what_is_said_beside_it_goes_to_the_console(capsys: pytest.CaptureFixture[str]) -> None:
    say("a remark")
    assert capsys.readouterr() == ("", "a remark\n")


def test_silence_says_nothing(capsys: pytest.CaptureFixture[str], store: Store) -> None:
    run_stage(STAGES["world"], JOBS["world"], {}, store, PERF, silent)
    assert capsys.readouterr() == ("", "")
