"""What others do meanwhile is noticed, what this process does is not taken for it."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import torch

from tasks.evaluate.load import DISTURBED, Others, told

ENOUGH_S = 0.5


def test_another_process_at_work_is_noticed() -> None:
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        others, started_s = Others(), time.monotonic()
        worked = psutil.Process(child.pid)
        before_s = worked.cpu_times().user
        while worked.cpu_times().user < before_s + ENOUGH_S:
            time.sleep(0.02)
        used, cores = others.load().tolist()
        assert used * (time.monotonic() - started_s) > 0.8 * ENOUGH_S and cores == psutil.cpu_count()
    finally:
        child.kill()
        child.wait()


def test_what_this_process_does_is_its_own() -> None:
    def busy_s() -> float:
        spent = psutil.cpu_times()
        return float(spent.user + spent.system + spent.nice)

    started_s, before_s, others = time.monotonic(), busy_s(), Others()
    own = psutil.Process()
    until_s = own.cpu_times().user + ENOUGH_S
    while own.cpu_times().user < until_s:
        sum(range(10_000))
    used, _ = others.load().tolist()
    whole_s = busy_s() - before_s
    interrupts_s = 0.1  # counted of the others alone
    assert used * (time.monotonic() - started_s) < whole_s - 0.8 * ENOUGH_S + interrupts_s


def test_more_than_a_tenth_of_the_machine_disturbs() -> None:
    quiet, loud = (told(torch.tensor([used, 8.0])) for used in (8 * DISTURBED - 0.1, 8 * DISTURBED + 0.1))
    assert quiet == {"used_by_others": 0.7, "cores": 8, "disturbed": False}
    assert loud == {"used_by_others": 0.9, "cores": 8, "disturbed": True}
