"""A store that fails for a while changes nothing; one that is gone is an error in time; neither is an empty store.

`INSTAFLOW_FAULT_SECONDS=60` makes every fault last a minute.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from botocore import auth

from infra.artifact import Artifact, ArtifactMissing, Draft
from infra.store import Store, StoreError, open_store, s3
from tests.faults import Fault, FaultyProxy
from tests.infra.reaching import gone_for_good, new_store, use
from tests.infra.small_artifact import PRINT, UNITS, commit, make
from tests.s3 import BUCKET, S3Server, rclone_server

SECONDS = float(os.environ.get("INSTAFLOW_FAULT_SECONDS", "2"))


def contents(artifact: Artifact) -> dict[str, bytes]:
    return {file.path: artifact.fetch(file).read_bytes() for file in artifact.manifest.files}


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_in_the_middle_is_waited_out(fault: Fault, proxy: FaultyProxy, tmp_path: Path) -> None:
    undisturbed = make(open_store(tmp_path / "undisturbed"))
    proxy.strike(fault, seconds=SECONDS, after=9)
    made = make(new_store())
    assert proxy.struck[fault] and made.digest == undisturbed.digest
    assert contents(made) == contents(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.RESET, Fault.LOST, Fault.CUT])
def test_any_request_may_fail(
    fault: Fault, proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    undisturbed = make(open_store(tmp_path / "undisturbed"))
    proxy.strike_first(fault)
    made = make(new_store())
    assert proxy.struck[fault] > 12 and made.digest == undisturbed.digest
    assert contents(made) == contents(undisturbed)


@pytest.mark.parametrize("attempts", ["1", "3"])
def test_a_name_taken_by_its_own_lost_try_is_created(
    attempts: str, moto: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultyProxy(moto.endpoint) as proxy:
        use(moto, proxy.endpoint, monkeypatch, tmp_path)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", attempts)
        store = new_store()
        store.write("taken", b"somebody else's")
        proxy.strike_first(Fault.LOST)
        assert store.create("free", b"ours") and store.read("free") == b"ours"
        assert not store.create("taken", b"ours") and store.read("taken") == b"somebody else's"


def test_many_are_read_and_deleted_through_every_fault(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = new_store()
    written = {f"a/{number}": bytes([number]) for number in range(20)}
    for name, data in written.items():
        store.write(name, data)
    proxy.strike_first(Fault.SLOW_DOWN, Fault.RESET, Fault.LOST, Fault.CUT)
    assert store.read_many([*written, "absent"]) == written
    store.delete_many([*written, "absent"])
    assert store.list() == [] and len(proxy.struck) == 4


def test_a_thousand_are_deleted_by_one_request(proxy: FaultyProxy) -> None:
    store = new_store()
    for name in ("0", "1000"):
        store.write(name, b"1")
    proxy.asked.clear()
    store.delete_many([str(number) for number in range(1001)])
    assert [line.partition("?")[0] for line in proxy.asked] == [f"POST /{BUCKET}"] * 2 and store.list() == []


def test_what_is_gone_is_an_error_for_many_too(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    gone_for_good(monkeypatch)
    store = new_store()
    store.write("a", b"1")
    with proxy.down():
        for ask in (lambda: store.read_many(["a", *map(str, range(100))]), lambda: store.delete_many(["a", "b"])):
            with pytest.raises(StoreError, match=r"tried \d+ times"):
                ask()
    assert store.read_many(["a"]) == {"a": b"1"}


def assert_outage(store: Store, halfway: str) -> None:
    """Every question is answered with an error that names the store and what was tried; none with "not there"."""
    settings = r"\(INSTAFLOW_STORE_PATIENCE_S=1\.5, INSTAFLOW_STORE_TIMEOUT_S=0\.5\)"
    told = rf"store {store.url}: cannot \w+ .*; tried \d+ times in \d+ s {settings}"
    asks = [
        *(lambda: Artifact.open(store, "pairs", halfway), Draft(store, "pairs", PRINT).units, lambda: make(store)),
        *(
            lambda ask=ask: ask("pairs")
            for ask in (store.read, store.exists, store.list, store.folders, store.modified)
        ),
    ]
    for ask in asks:
        with pytest.raises(StoreError, match=told) as caught:
            ask()
        assert not isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("how", ["refuses", "answers 503"])
def test_a_store_that_is_gone_is_an_error_and_the_run_goes_on_when_it_is_back(
    how: str, proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = make(open_store(tmp_path / "undisturbed"))
    gone_for_good(monkeypatch)
    store = new_store()
    with Draft(store, "pairs", PRINT) as draft:
        commit(draft, UNITS[0], 1.0)
    if how == "refuses":
        with proxy.down():
            assert_outage(store, PRINT)
    else:
        proxy.strike(Fault.SLOW_DOWN, seconds=1000)
        assert_outage(store, PRINT)
        proxy.heal()
    assert [*Draft(store, "pairs", PRINT).units()] == UNITS[:1]
    with pytest.raises(ArtifactMissing):
        Artifact.open(store, "pairs", PRINT)
    resumed = make(store)
    assert resumed.digest == undisturbed.digest and contents(resumed) == contents(undisturbed)


@pytest.mark.slow
def test_a_store_that_is_silent_is_an_error_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large").write_bytes(bytes(30_000_000))
    with rclone_server(tmp_path / "served", "--dir-cache-time=1ms") as server:  # it forgot a folder once
        use(server, server.endpoint, monkeypatch, tmp_path)
        gone_for_good(monkeypatch)
        store = new_store()
        made = make(store)
        (process,) = [one for one in psutil.Process().children(recursive=True) if listens(one, server.endpoint)]
        process.suspend()
        try:
            for ask in (lambda: store.read("a"), lambda: store.write("a", b"1")):
                with pytest.raises(StoreError, match=r"tried \d+ times"):
                    ask()
            with pytest.raises(StoreError, match=r"cannot write large: .*tried \d+ times"):
                store.upload(tmp_path / "large", "large")  # stops in the middle: no more of it is taken
        finally:
            process.resume()
        assert Artifact.open(store, "pairs", PRINT).manifest == made.manifest
        store.upload(tmp_path / "large", "large")
        assert store.size("large") == 30_000_000


def listens(process: psutil.Process, endpoint: str) -> bool:
    port = int(endpoint.rpartition(":")[2])
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in process.net_connections())


REFUSED: dict[str, tuple[str, dict[str, str]]] = {
    "wrong secret": (BUCKET, {"AWS_SECRET_ACCESS_KEY": "wrongwrong"}),
    "unknown key": (BUCKET, {"AWS_ACCESS_KEY_ID": "nobodyskey"}),
    "no keys": (BUCKET, {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}),
    "no bucket": ("no-such-bucket", {}),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_time_does_not_mend_fails_at_once(
    why: str, rclone: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(rclone, rclone.endpoint, monkeypatch, tmp_path)
    bucket, changes = REFUSED[why]
    for name, value in {**changes, "INSTAFLOW_STORE_PATIENCE_S": "100000"}.items():
        monkeypatch.setenv(name, value)
    store = open_store(f"s3://{bucket}/x")
    (tmp_path / "large").write_bytes(bytes(30_000_000))
    asks = [lambda: make(store), lambda: store.write("a", b""), lambda: store.upload(tmp_path / "large", "b")]
    for ask in asks:
        with pytest.raises(StoreError, match=f"store s3://{bucket}/x: cannot") as caught:
            ask()
        assert "tried" not in str(caught.value) and "wrongwrong" not in str(caught.value)


def test_a_store_that_only_reads_takes_nothing_and_keeps_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with rclone_server(tmp_path / "served") as server:
        use(server, server.endpoint, monkeypatch, tmp_path)
        made = make(new_store())
    with rclone_server(tmp_path / "served", "--read-only") as server:
        use(server, server.endpoint, monkeypatch, tmp_path)
        gone_for_good(monkeypatch)
        store = open_store(made.store.url)
        assert contents(Artifact.open(store, "pairs", PRINT)) == contents(made)
        for verb, ask in (
            ("write .*shard-000000", lambda: commit(Draft(store, "reflow", PRINT), UNITS[0], 1.0)),
            ("write reflow/a", lambda: store.write("reflow/a", b"1")),
            ("write reflow/b", lambda: store.put("reflow/b", [b"1"], 1, "")),
            ("delete", lambda: store.delete(f"{made.base}/manifest.json")),
            ("delete .*manifest.json and 1 more", lambda: store.delete_many([f"{made.base}/manifest.json", "absent"])),
        ):
            with pytest.raises(StoreError, match=f"store {store.url}: cannot {verb}.*: HTTP [0-9]+ InternalError"):
                ask()
        assert Artifact.open(store, "pairs", PRINT).manifest == made.manifest and not store.list("reflow")


@pytest.mark.parametrize(("minutes", "told"), [(60, "60 minutes ahead of"), (-60, "60 minutes behind")])
def test_a_wrong_clock_is_named(
    minutes: int, told: str, rclone: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(rclone, rclone.endpoint, monkeypatch, tmp_path)
    shift, signed_at = timedelta(minutes=minutes), auth.get_current_datetime
    monkeypatch.setattr(auth, "get_current_datetime", lambda *args, **named: signed_at(*args, **named) + shift)
    monkeypatch.setattr(s3, "_now", lambda: datetime.now(UTC) + shift)
    store = new_store()
    for ask in (lambda: make(store), lambda: store.write("a", b""), lambda: store.size("a")):
        with pytest.raises(StoreError, match=f"clock is {told} the store's.*set the clock"):
            ask()
    monkeypatch.undo()
    use(rclone, rclone.endpoint, monkeypatch, tmp_path)
    assert open_store(store.url).list() == []
