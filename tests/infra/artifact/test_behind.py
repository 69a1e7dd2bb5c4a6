"""One thing at a time behind the caller's back, and no failure that nobody hears of."""

from __future__ import annotations

import threading

import pytest

from infra.artifact.behind import Behind

PATIENCE_S = 30


def fail() -> None:
    raise ValueError("the store is full")


def test_the_caller_goes_on_and_the_next_one_waits() -> None:
    behind, go, done = Behind(), threading.Event(), list[str]()

    def slowly() -> None:
        assert go.wait(PATIENCE_S)
        done.append("first")

    behind.do(slowly)
    assert done == [], "it is under way"
    go.set()
    behind.do(lambda: done.append("second"))
    assert done[0] == "first", "who brings the next one has waited for it"
    behind.wait()
    assert done == ["first", "second"]
    behind.close()


def test_a_failure_is_raised_once_and_what_follows_is_not_begun() -> None:
    behind, begun = Behind(), list[int]()
    behind.do(fail)
    with pytest.raises(ValueError, match="full"):
        behind.do(lambda: begun.append(1))
    behind.wait()
    assert begun == []
    behind.do(fail)
    with pytest.raises(ValueError, match="full"):
        behind.wait()


def test_a_failure_that_nobody_waited_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    behind = Behind()
    behind.do(fail)
    behind.close()
    assert "is not: the store is full" in caplog.text
