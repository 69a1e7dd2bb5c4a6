"""What is shown while a run goes on: a bar where someone looks on, lines where nobody does."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from flows.run import terminal
from flows.run.terminal import Bar, LogLines
from tests.flows.clock import Clock


def test_a_line_now_and_then_where_nobody_looks_on() -> None:
    clock, lines = Clock(), list[str]()
    show = LogLines("pairs-1", lines.append, every_s=10.0, clock=clock)
    for second in range(31):
        clock.now = float(second)
        show(second, 100, "pairs")
    assert lines == [
        "pairs-1: 10/100 pairs, 1.00/s, 1 min 30 s left",
        "pairs-1: 20/100 pairs, 1.00/s, 1 min 20 s left",
        "pairs-1: 30/100 pairs, 1.00/s, 1 min 10 s left",
    ]


def test_lines_go_beside_the_results_and_are_not_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    with terminal.shown("a-stage-with-a-long-name") as show:
        assert isinstance(show, LogLines)
        show._every_s = 0.0
        show(1, 2, "pairs")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "a-stage-with-a-long-name: 1/2 pairs\n")


def test_results_are_not_cut_where_nobody_looks_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    terminal.results().print(f"[bold]{'x' * 300} 7")
    assert capsys.readouterr().out == f"[bold]{'x' * 300} 7\n", "no markup is read in what a stage is called"


def test_a_table_is_not_filled_up_with_blanks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table("name", "value", box=None, pad_edge=False)
    table.add_row("short", "1")
    table.add_row("long", "two words " * 30)
    terminal.say(table)
    monkeypatch.setattr(terminal, "results", lambda: Console(width=40, force_terminal=True, color_system=None))
    terminal.say(table)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["name   value", "short  1"] and len(lines[2]) > 300, "in a pipe nothing is broken"
    assert lines[3:5] == lines[:2] and max(map(len, lines[3:])) <= 40, "in a terminal nothing is wider than it"
    assert all(line == line.rstrip() for line in lines)


def _screen(width: int = 80) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=True, width=width, color_system=None), file


def test_a_bar_is_for_what_takes_its_time() -> None:
    screen, file = _screen()
    bar = Bar("pairs-1", screen)
    bar(1, 2, "pairs")
    bar.close()
    assert file.getvalue() == ""


def test_a_bar_shows_label_and_pace_and_is_gone_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "BAR_AFTER_S", 0.0)
    screen, file = _screen()
    bar = Bar("pairs-1", screen)
    bar(3, 40, "pairs")
    bar.close()
    shown = file.getvalue()
    assert "pairs-1" in shown and "3/40 pairs" in shown
    assert shown.endswith("\x1b[2K"), "the line is cleared"
