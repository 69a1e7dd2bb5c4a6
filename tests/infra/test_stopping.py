"""Work that is interrupted ends at its next safe point; a second interruption waits for nothing."""

from __future__ import annotations

import contextvars
import os
import signal
import threading
import time

import pytest

from infra import stopping
from infra.stopping import Stopped, attended


class Interrupted(BaseException):
    """What the signal's handler raises, as Prefect's does."""


@pytest.fixture(autouse=True)
def _handler() -> object:
    def raised(number: int, frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGTERM, raised)
    yield
    signal.signal(signal.SIGTERM, before)


def until(happened: threading.Event) -> None:
    assert happened.wait(20)


def test_the_result_and_the_context_pass_through() -> None:
    context = contextvars.ContextVar("context", default="none")
    context.set("the caller's")
    assert attended(lambda: (context.get(), threading.current_thread() is threading.main_thread()), list, 10) == (
        "the caller's",
        False,
    )


@pytest.mark.parametrize("error", [ValueError("of the work"), Interrupted()])
def test_an_error_of_the_work_is_raised(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        attended(fail, list, 10)
    assert raised.value is error and not stopping.asked()


def test_signs_of_life_while_it_works() -> None:
    beats, enough = list[int](), threading.Event()

    def beat() -> None:
        beats.append(1)
        if len(beats) == 3:
            enough.set()

    attended(lambda: until(enough), beat, 0.01)
    assert len(beats) >= 3


def test_an_interruption_waits_for_the_next_safe_point() -> None:
    told, saved = list[str](), list[int]()

    def work() -> None:
        for step in range(10_000):
            if step == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.001)
            if stopping.asked():
                saved.append(step)
            stopping.check()

    with pytest.raises(Interrupted):
        attended(work, list, 10, on_stop=lambda: told.append("stopping"))
    assert told == ["stopping"] and len(saved) == 1 and saved[0] >= 3
    assert not stopping.asked(), "the next work is not to stop"


@pytest.mark.parametrize("after_s", [0.0, 0.2], ids=["at once", "while it is waited"])
def test_a_second_interruption_waits_for_nothing(after_s: float) -> None:
    go = threading.Event()

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        until(go)  # long after all patience

    with pytest.raises(Interrupted):
        attended(work, list, 10, on_stop=threading.Timer(after_s, interrupt).start if after_s else interrupt)
    assert stopping.asked()
    go.set()
    stopping._asked.clear()


def test_a_safe_point_is_none_before_anybody_asks() -> None:
    stopping.check()
    stopping.ask()
    with pytest.raises(Stopped):
        stopping.check()
    stopping._asked.clear()
