"""A webhook and a mail server on loopback, which keep what they are sent."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

WITHIN_S = 120.0
_T = TypeVar("_T")


@dataclass
class Inbox:
    """What came, and the ports it came to."""

    http_port: int = 0
    smtp_port: int = 0
    calls: list[tuple[Mapping[str, str], Any]] = field(default_factory=list)
    """Headers and JSON of each call."""
    mails: list[EmailMessage] = field(default_factory=list)

    def wait_for(self, found: Callable[[], _T | None]) -> _T:
        """What `found` gives once it gives something. Raises AssertionError when it never does."""
        deadline_s = time.monotonic() + WITHIN_S
        while (one := found()) is None:
            assert time.monotonic() < deadline_s, f"nothing of this came within {WITHIN_S:g} s: {self}"
            time.sleep(0.05)
        return one


@contextmanager
def inbox() -> Iterator[Inbox]:
    """Both servers for as long as the block runs."""
    kept = Inbox()

    class Calls(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.calls.append((dict(self.headers), json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Mails(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 inbox")
            while line := self.rfile.readline():
                word = line.split()[0].upper()
                if word == b"DATA":
                    self._say("354 go on")
                    kept.mails.append(self._mail())
                self._say("221 bye" if word == b"QUIT" else "250 ok")

        def _mail(self) -> EmailMessage:
            lines = [*iter(self.rfile.readline, b".\r\n")]
            found = message_from_bytes(b"".join(line.removeprefix(b".") for line in lines), policy=policy.default)
            assert isinstance(found, EmailMessage)
            return found

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    http, smtp = (
        ThreadingHTTPServer(("127.0.0.1", 0), Calls),
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mails),
    )
    kept.http_port, kept.smtp_port = http.server_address[1], smtp.server_address[1]
    for server in (http, smtp):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield kept
    finally:
        for server in (http, smtp):
            server.shutdown()
            server.server_close()
