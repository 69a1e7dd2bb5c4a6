"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.app import app


@pytest.mark.parametrize("command", [["status"], ["artifacts", "ls"]])
def test_the_store_is_told_or_in_the_environment_or_beside_one(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = {"status": "no runs in {} yet\n", "artifacts": "no artifacts in {} yet\n"}[command[0]]
    shown = {"status": "{}", "artifacts": f"{tmp_path}/{{}}"}[command[0]]

    def said(*more: str) -> str:
        return CliRunner().invoke(app, [*command, *more]).stdout

    assert said() == words.format(shown.format("store"))
    monkeypatch.setenv("INSTAFLOW_STORE", "elsewhere")
    assert said() == words.format(shown.format("elsewhere"))
    assert said("--store", "here") == words.format(shown.format("here")), "what is told counts for more"


def test_a_store_is_asked_for_by_every_command_that_reads_one() -> None:
    for command in ("run", "plan", "status", "doctor", "generate", "report", "export", "mini"):
        assert "INSTAFLOW_STORE" in CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).stdout, command
