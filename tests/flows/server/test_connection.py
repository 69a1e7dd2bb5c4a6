"""Which server a run speaks to: the one that is configured, the one that stands, or one of its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    get_current_settings,
    temporary_settings,
)

from flows.server import connection
from flows.server.connection import connected
from flows.server.local import Endpoint
from infra.errors import UserError


@pytest.fixture
def listening() -> Iterator[str]:
    """The URL of something that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/api"


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which API was spoken to whenever records were flushed."""
    found: list[str] = []
    monkeypatch.setattr(connection, "flush", lambda: found.append(str(get_current_settings().api.url)))
    return found


def test_a_configured_server_is_taken_as_it_is(
    listening: str, flushed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never() -> Endpoint:
        raise AssertionError("another server is no concern of ours")

    monkeypatch.setattr(connection, "standing_server", never)
    with temporary_settings({PREFECT_API_URL: listening}), connected() as url:
        assert url == listening and flushed == []
    assert flushed == [listening], "when the block is left"


def test_a_configured_server_that_is_not_there_is_named(flushed: list[str]) -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        with pytest.raises(UserError) as caught:
            with connected():
                raise AssertionError("there is no server")
    assert str(caught.value).startswith("PREFECT_API_URL http://127.0.0.1:9/api: no server answers there: ")
    assert "unset PREFECT_API_URL" in str(caught.value) and flushed == []


def test_a_standing_server_is_spoken_to_by_this_process_and_its_children(
    listening: str, flushed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    standing = Endpoint(listening, "instaflow:secret")
    monkeypatch.setattr(connection, "standing_server", lambda: standing)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "of before")
    with connected() as url:
        assert url == listening == get_current_settings().api.url
        assert PREFECT_API_AUTH_STRING.value() == "instaflow:secret"
        assert os.environ["PREFECT_API_URL"] == listening and os.environ["PREFECT_API_AUTH_STRING"] == standing.auth
    assert "PREFECT_API_URL" not in os.environ and os.environ["PREFECT_API_AUTH_STRING"] == "of before"
    assert get_current_settings().api.url is None and flushed == [listening], "while it was still spoken to"


def test_records_are_flushed_whatever_happens(
    listening: str, flushed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "standing_server", lambda: Endpoint(listening))
    with pytest.raises(KeyboardInterrupt), connected():
        raise KeyboardInterrupt
    assert flushed == [listening] and "PREFECT_API_URL" not in os.environ
