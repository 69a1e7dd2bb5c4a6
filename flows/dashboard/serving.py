"""The dashboard on loopback, behind a password: the same pages, made again while one looks, and `/metrics`."""

from __future__ import annotations

import base64
import hashlib
import logging
import mimetypes
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from flows.dashboard.exposition import CONTENT_TYPE, exposition
from flows.dashboard.runs import COMPARE, comparison
from flows.dashboard.site import files
from flows.observed.known import look
from flows.observed.whole import small_file
from flows.page_names import report_path
from flows.server.local import state_folder
from infra.errors import UserError
from infra.private import write_private
from infra.store import Store

AUTH = "INSTAFLOW_DASHBOARD_AUTH"
"""Variable with `user:password`; where it is not set, a password is made for as long as the server runs."""
EVERY_S, TIMES = 5.0, 4.0
"""The site is made again after so long, or after so many times what that takes."""
_POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
_REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'; sandbox"
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Page:
    """What is answered at a path."""

    content: bytes
    kind: str
    policy: str = _POLICY

    @property
    def tag(self) -> str:
        """By which a browser sees that it has changed."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'


class LiveSite:
    """The site of a store, kept in memory and made again by `refresh`. Raises StoreError when it is first made."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.pages: dict[str, _Page] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read the store, and answer with that from now on. Raises StoreError."""
        known = self.known = look(self.store, datetime.now(UTC), frozenset(self.pages), is_served=True)
        made = {path: data if data is not None else self.pages[path].content for path, data in files(known)}
        pages = {path: _Page(data, _kind(path)) for path, data in made.items()}
        self.pages = pages | {"metrics": _Page(exposition(known), CONTENT_TYPE)}

    def page(self, url: str) -> _Page | None:
        """What is answered to a request; None for what there is not."""
        asked = urlsplit(url)
        path = unquote(asked.path).lstrip("/") or "index.html"
        if path == COMPARE:
            return self._comparison(asked.query)
        return self.pages.get(path) or self._report(path)

    def _report(self, path: str) -> _Page | None:
        """A report is what somebody wrote into the store: it runs nothing, loads nothing, and is of no site."""
        for base, artifact in self.known.seen.artifacts.items():
            if artifact.stage == "report" and path == report_path(base):
                (file,) = artifact.files("report.html") or (None,)
                data = small_file(artifact, file) if file else None
                return _Page(data, _kind(path), _REPORT_POLICY) if data else None
        return None

    def _comparison(self, query: str) -> _Page | None:
        told = parse_qs(query)
        made = comparison(self.known, [told[name][0].strip() for name in ("a", "b") if name in told])
        return _Page(made, _kind(f"{COMPARE}.html")) if made else None


def _kind(path: str) -> str:
    kind = "image/webp" if path.endswith(".webp") else mimetypes.guess_type(path)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


@contextmanager
def serving(store: Store, port: int, auth: str) -> Iterator[str]:
    """Serves the dashboard of a store on 127.0.0.1 for as long as the block runs; gives its URL. Port 0 is a free one.

    Raises UserError for a port that is taken, StoreError.
    """
    site, is_over = LiveSite(store), threading.Event()
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), _handler(site, auth))
    except OSError as error:
        raise UserError(f"--port {port}: {error.strerror}. Name another, or 0 for a free one.") from error
    server.daemon_threads = True
    threads = [
        threading.Thread(target=server.serve_forever, name="dashboard", daemon=True),
        threading.Thread(target=_keep_fresh, args=(site, is_over), name="dashboard-refresh", daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        is_over.set()
        server.shutdown()
        server.server_close()


@contextmanager
def password() -> Iterator[tuple[str, Path | None]]:
    """`user:password` as the variable says, else one of its own, in a file that only this user reads, until the end."""
    if told := os.environ.get(AUTH):
        if not all(told.partition(":")):
            raise UserError(f"{AUTH}: expected user:password.")
        yield told, None
        return
    auth, folder = f"instaflow:{secrets.token_urlsafe(24)}", state_folder()
    folder.mkdir(parents=True, exist_ok=True)
    door = folder / "dashboard-auth"
    write_private(door, auth)
    try:
        yield auth, door
    finally:
        door.unlink(missing_ok=True)


def _keep_fresh(site: LiveSite, is_over: threading.Event) -> None:
    """A store that fails for a while, or prices that cannot be read, leave the pages as they are."""
    wait_s = EVERY_S
    while not is_over.wait(wait_s):
        started = time.monotonic()
        try:
            site.refresh()
        except UserError as error:
            _log.warning("the dashboard stays as it was: %s", error)
        wait_s = max(EVERY_S, TIMES * (time.monotonic() - started))


def _handler(site: LiveSite, auth: str) -> type[BaseHTTPRequestHandler]:
    expected = f"Basic {base64.b64encode(auth.encode()).decode()}".encode()

    class Handler(BaseHTTPRequestHandler):
        """Answers with a page of the site to who knows the password."""

        server_version, sys_version = "instaflow", ""
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def _answer(self) -> None:
            told = self.headers.get("Authorization", "").encode(errors="replace")
            if not secrets.compare_digest(told, expected):
                self._send(HTTPStatus.UNAUTHORIZED, _Page(b"a password is needed\n", "text/plain"))
            elif (page := site.page(self.path)) is None:
                self._send(HTTPStatus.NOT_FOUND, _Page(b"no such page\n", "text/plain"))
            elif self.headers.get("If-None-Match") == page.tag:
                self._send(HTTPStatus.NOT_MODIFIED, _Page(b"", page.kind), page.tag)
            else:
                self._send(HTTPStatus.OK, page, page.tag)

        def _send(self, status: HTTPStatus, page: _Page, tag: str = "") -> None:
            self.send_response(status)
            headers = {"Content-Type": page.kind, "Content-Length": str(len(page.content)), "Cache-Control": "no-cache"}
            headers |= {"Content-Security-Policy": page.policy, "X-Content-Type-Options": "nosniff"}
            headers |= {"ETag": tag} if tag else {}
            if status is HTTPStatus.UNAUTHORIZED:
                headers["WWW-Authenticate"] = 'Basic realm="instaflow dashboard", charset="UTF-8"'
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(page.content)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: who looked at what is nobody's business."""

    return Handler
