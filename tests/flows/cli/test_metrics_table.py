"""The table at the end of a run."""

from __future__ import annotations

from rich.console import Console

from flows.cli.metrics_table import metrics_table
from tasks.evaluate.measured import Measured, Metrics


def test_a_line_per_record_with_what_applies() -> None:
    student = Measured(
        model="student",
        steps=1,
        guidance=1.0,
        frechet_distance=0.123,
        attribute_accuracy=0.957,
        seconds_per_image=0.01,
        frechet_distance_interval=0.0081,
    )
    floor = Measured(model="floor", steps=25, guidance=3.0, frechet_distance=0.1)
    metrics = Metrics(schema_version=2, protocol={"num_images": 1000, "machine": "abacus"}, records=(floor, student))
    console = Console(width=120)
    with console.capture() as captured:
        console.print(metrics_table(metrics))
    head, first, second, last = captured.get().splitlines()
    assert head.split()[:4] == ["model", "steps", "guidance", "Frechet"]
    assert first.split() == ["floor", "25", "3", "0.1", *"\u2013" * 2]
    assert second.split() == [
        "student",
        "1",
        "1",
        "0.123",
        "\u00b1",
        "0.0081",
        "95.7",
        "%",
        "10",
        "ms",
    ]
    assert last.strip() == "1000 pictures a line; abacus"


def test_times_beside_other_work_are_marked() -> None:
    student, load = Measured(model="student", steps=1, seconds_per_image=0.01), {"used_by_others": 1.2, "cores": 2}
    for disturbed in (True, False):
        protocol = {"num_images": 9, "machine": "abacus", "load": {**load, "disturbed": disturbed}}
        console = Console(width=200)
        with console.capture() as captured:
            console.print(metrics_table(Metrics(schema_version=2, protocol=protocol, records=(student,))))
        mark = "; times measured beside other work: 1.2 of 2 cores were busy with it" if disturbed else ""
        assert captured.get().splitlines()[-1].strip() == f"9 pictures a line; abacus{mark}"
