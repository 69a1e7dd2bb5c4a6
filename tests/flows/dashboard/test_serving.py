"""The dashboard on loopback: nothing without the password, what changes is shown, and it ends when it is told to."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import quote

import pytest

from flows.dashboard import serving as module
from flows.dashboard.runs import SIDE_BY_SIDE
from flows.dashboard.serving import AUTH, LiveSite, password, serving
from flows.page_names import card_path, report_path
from flows.run.costs import FILE
from flows.server.local import state_folder
from infra.errors import UserError
from infra.store import Store, open_store
from infra.upkeep.runs import write_run
from tests import ROOT
from tests.flows.observed.small_store import Small, record
from tests.tasks import small_run

KNOWN = "somebody:a password"


def ask(url: str, auth: str = KNOWN, method: str = "GET", **headers: str) -> tuple[int, HTTPResponse | None, bytes]:
    told = {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"} if auth else {}
    request = urllib.request.Request(url, headers=told | headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, None, error.read()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(tmp_path / "store")
    write_run(store, record("run-1", "mini", [], hours=1, state="done", exit=0))
    return store


@pytest.mark.parametrize("auth", ["", "somebody:another", "somebody", "another:a password", "somebody:a password "])
def test_nothing_answers_without_the_password(auth: str, store: Store) -> None:
    with serving(store, 0, KNOWN) as url:
        for path in ("", "index.html", "metrics", "style.css", "runs/run-1.html", "not-there.html"):
            assert ask(url + path, auth)[0] == 401, path


def test_pages_and_metrics_are_answered_and_nothing_else(store: Store) -> None:
    with serving(store, 0, KNOWN) as url:
        status, answer, page = ask(url)
        assert answer is not None and (status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert b"<h1>Now</h1>" in page and "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert ask(url, **{"If-None-Match": answer.headers["ETag"]})[0] == 304
        status, head, nothing = ask(url, method="HEAD")
        assert head is not None and (status, nothing, head.headers["ETag"]) == (200, b"", answer.headers["ETag"])
        assert b'instaflow_runs{state="done"} 1.0' in ask(f"{url}metrics")[2]
        assert ask(f"{url}runs/run-1.html")[0] == 200
        assert [ask(url + path)[0] for path in ("../store/runs/run-1.json", "%2e%2e/x", "runs", "site.json")] == [
            404
        ] * 4


def test_a_report_is_given_and_may_do_nothing(store: Store, tmp_path: Path) -> None:
    written = tmp_path / "report.html"
    written.write_text("<h1>Report</h1><script>")
    made = small_run.commit(store, "report", {"report.html": written})
    other = small_run.commit(store, "report", {"another.html": written}, config={"seed": 1})
    with serving(store, 0, KNOWN) as url:
        path = report_path(made.base)
        status, answer, page = ask(url + path)
        assert answer is not None and (status, page) == (200, written.read_bytes())
        policy = answer.headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "sandbox"} <= {*policy} and answer.headers["Content-Type"].startswith("text/html")
        assert path in ask(url + card_path(made.base))[2].decode() and ask(url + path, "")[0] == 401
        assert ask(url + report_path(other.base))[0] == ask(url + report_path("report/0123456789abcdef"))[0] == 404
        store.write(f"{made.base}/{made.record('report.html').path}", b"<h1>another</h1>")
        assert ask(url + path)[0] == 404, "not what was committed"


def test_any_two_runs_are_compared_when_asked_for(store: Store) -> None:
    for number in range(2, SIDE_BY_SIDE + 3):
        write_run(store, record(f"run-{number:02d}", "mini", [], hours=number, state="done", exit=0))
    first, last = "run-1", f"run-{SIDE_BY_SIDE + 2:02d}"
    with serving(store, 0, KNOWN) as url:
        runs = ask(f"{url}runs.html")[2].decode()
        assert f"{first}--{last}" not in runs and '<form class="compare" action="compare">' in runs
        assert f'name="b" value="{last}"' in ask(f"{url}runs/{last}.html")[2].decode()
        status, answer, page = ask(f"{url}compare?a={first}&b={last}")
        assert answer is not None and (status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert f"runs/{first}.html" in page.decode() and f"runs/{last}.html" in page.decode()
        asked = ("compare", f"compare?a={first}", f"compare?a={first}&b=<script>", f"compare?a={first}&b=../{last}")
        assert [ask(url + quote(path, safe="?=&"))[0] for path in asked] == [404] * 4
        assert ask(f"{url}compare?a={first}&b={last}", "")[0] == 401


def test_what_changes_is_shown(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.05)
    with serving(store, 0, KNOWN) as url:
        before = ask(f"{url}runs.html")[1]
        write_run(store, record("run-2", "mini", [], hours=0, state="running"))
        _until(lambda: b"run-2" in ask(f"{url}runs.html")[2])
        after = ask(f"{url}runs.html")[1]
        assert before is not None and after is not None and before.headers["ETag"] != after.headers["ETag"]


def test_prices_that_cannot_be_read_for_a_while_end_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prices = tmp_path / "site.yaml"
    monkeypatch.setenv(FILE, str(prices))
    monkeypatch.setattr(module, "EVERY_S", 0.05)
    prices.write_text("cost: {cpu: 1/h}")
    with serving(store, 0, KNOWN) as url:
        prices.write_text("cost: {cpu:")
        _until(lambda: "stays as it was" in caplog.text)
        prices.write_text("cost: {}")
        _until(lambda: "has no prices" in ask(f"{url}cost.html")[2].decode())


def _until(there: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not there():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_port_that_is_taken_is_named(store: Store) -> None:
    with serving(store, 0, KNOWN) as url:
        port = int(url.rstrip("/").rpartition(":")[2])
        with pytest.raises(UserError, match=f"--port {port}"), serving(store, port, KNOWN):
            pass


def test_pictures_are_kept_from_one_time_to_the_next(small: Small) -> None:
    live = LiveSite(small.store)
    pictures = {path: page for path, page in live.pages.items() if path.endswith(".webp")}
    live.refresh()
    assert pictures and all(live.pages[path].content is page.content for path, page in pictures.items())


def test_a_password_is_made_that_only_this_user_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(AUTH, raising=False)
    with password() as (auth, door):
        assert door is not None and door.read_text() == auth and door.stat().st_mode & 0o777 == 0o600
        assert len(auth) > 30
    assert not door.exists()


def test_a_password_that_is_told_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(AUTH, KNOWN)
    with password() as told:
        assert told == (KNOWN, None)
    monkeypatch.setenv(AUTH, "no colon")
    with pytest.raises(UserError, match=AUTH) as error, password():
        pass
    assert "no colon" not in str(error.value)


@contextmanager
def command(store: Store) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`instaflow dashboard --serve` as a process, and its URL."""
    arguments = [sys.executable, "-m", "flows.cli", "dashboard", "--serve", "--port", "0", "--store", store.url]
    environment = {name: value for name, value in os.environ.items() if name != AUTH}
    with subprocess.Popen(arguments, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = re.match(r"(http://127\.0\.0\.1:\d+/)", process.stderr.readline())
            assert found
            yield process, found[1]
        finally:
            process.kill()


def test_the_command_serves_until_it_is_told_to_stop(store: Store) -> None:
    door = state_folder() / "dashboard-auth"
    with command(store) as (process, url):
        assert ask(url, "")[0] == 401 and ask(url, door.read_text())[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert not door.exists()
