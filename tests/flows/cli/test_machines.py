"""The commands about machines: what they say when something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.cli.app import main
from tests.flows.conftest import Cli


@pytest.mark.parametrize("command", [["deploy"], ["worker", "gpu"]])
def test_without_a_server_they_say_how_to_get_one(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["instaflow", *command])
    with pytest.raises(SystemExit, match="2"):
        main()
    said = capsys.readouterr().err
    assert f"no Prefect server stands on this machine (none in {tmp_path})" in said and "instaflow server" in said


def test_a_pools_file_that_is_wrong_is_told_before_a_server_is_asked(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("default: gpu\npools: {cpu: {}}")
    told = cli("deploy", "--pools", "mine.yaml")
    assert told.returncode == 2 and "mine.yaml: recipe: `default` gpu is none of the pools: cpu." in told.stderr
