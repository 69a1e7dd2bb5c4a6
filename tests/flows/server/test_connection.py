"""Which server a run speaks to: the one that is configured, the one that stands, or one of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

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


class _Api(BaseHTTPRequestHandler):
    """As much of Prefect's API as tells that it is there: no flows."""

    def do_GET(self) -> None:
        self.send_error(404)  # an older server, which knows no csrf-token

    def do_POST(self) -> None:
        assert self.path == "/api/flows/filter"
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def listening() -> Iterator[str]:
    """The URL of something that answers as Prefect does."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Api) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


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
