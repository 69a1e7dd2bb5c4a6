"""S3 is waited for as long as its failure may pass, and no longer; what is wrong is told in one phrase."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

from infra.errors import UserError
from infra.store import StoreError, open_store
from infra.store.s3 import GaveUp, Patience, Settings, clock_advice, describe, is_taken, options, require_deleted
from tests.infra.reaching import new_store, use
from tests.s3 import S3Server

SETTINGS = Settings(patience_s=0.5, timeout_s=1.0)
PATIENCE = Patience(SETTINGS, "store x")


def answer(status: int, code: str = "", message: str = "", date: datetime | None = None) -> ClientError:
    """What botocore raises for an answer that is no success."""
    headers = {} if date is None else {"date": format_datetime(date, usegmt=True)}
    told = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": told}, "GetObject")


def behind(cause: Exception) -> OSError:
    """What s3fs makes of an exception of botocore's."""
    error = OSError(5, "Input/output error")
    error.__cause__ = cause
    return error


def failing(error: Exception, times: int) -> Callable[[], str]:
    """Something that fails so many times before it answers."""
    left = [error] * times

    def ask() -> str:
        if left:
            raise left.pop()
        return "answer"

    return ask


PASSING = {
    "no connection": ConnectionRefusedError("refused"),
    "silence": ReadTimeoutError(endpoint_url="http://x"),
    "503": answer(503, "SlowDown"),
    "500 behind s3fs": behind(answer(500, "InternalError")),
    "429": answer(429),
    "damaged on the way": answer(400, "BadDigest"),
    "two at once": answer(409, "ConditionalRequestConflict"),
}
LASTING = {
    "absent": FileNotFoundError("a"),
    "refused": answer(403, "AccessDenied"),
    "refused behind s3fs": behind(answer(403, "AccessDenied")),
    "not implemented": answer(501, "NotImplemented"),
    "taken": answer(412, "PreconditionFailed"),
    "misconfigured": BotoCoreError(),
    "certificate": ConnectionError("certificate verify failed"),
    "full disk": OSError(28, "No space left on device"),
}


@pytest.mark.parametrize("why", PASSING)
def test_what_may_pass_is_waited_out(why: str, caplog: pytest.LogCaptureFixture) -> None:
    assert PATIENCE.ask(failing(PASSING[why], 1)) == "answer"
    assert [record.message.partition(":")[0] for record in caplog.records] == ["store x"] * 2
    assert "tried again for 0.5 s" in caplog.text and "answers again after" in caplog.text


@pytest.mark.parametrize("why", LASTING)
def test_what_does_not_pass_is_raised_at_once(why: str) -> None:
    with pytest.raises(type(LASTING[why])) as caught:
        PATIENCE.ask(failing(LASTING[why], 1))
    assert caught.value is LASTING[why]


def test_the_patience_ends_and_says_how_often_it_was_tried() -> None:
    begun = time.monotonic()
    error = answer(503, "SlowDown")
    with pytest.raises(
        GaveUp, match=r"^tried [2-4] times in \d s \(INSTAFLOW_STORE_PATIENCE_S=0\.5, .*TIMEOUT_S=1\)$"
    ) as gone:
        PATIENCE.ask(failing(error, 1000))
    assert gone.value.__cause__ is error and time.monotonic() - begun < 10


def test_without_patience_it_is_tried_once() -> None:
    with pytest.raises(GaveUp, match=r"^tried once \("):
        Patience(Settings(0.0, 1.0), "store x").ask(failing(PASSING["503"], 1))


def test_what_is_wrong_is_told_in_one_phrase() -> None:
    assert describe(behind(answer(403, "AccessDenied", "Access Denied."))) == "HTTP 403 AccessDenied: Access Denied"
    assert describe(answer(503)) == "HTTP 503"
    assert describe(OSError(28, "No space left on device")) == "OSError: No space left on device"
    assert describe(TimeoutError()) == "TimeoutError: TimeoutError"


def test_a_key_that_was_not_deleted_is_an_error_of_the_request_and_may_pass() -> None:
    told = {"ResponseMetadata": {"HTTPStatusCode": 200}}
    require_deleted(told)
    require_deleted({**told, "Errors": [{"Key": "a", "Code": "NoSuchKey", "Message": "gone"}]})
    refused = {**told, "Errors": [{"Key": "b", "Code": "AccessDenied", "Message": "Access Denied."}]}
    with pytest.raises(ClientError) as caught:
        PATIENCE.ask(lambda: require_deleted(refused))
    assert describe(caught.value) == "HTTP 200 AccessDenied: b: Access Denied"
    busy = [{**told, "Errors": [{"Key": "b", "Code": "SlowDown", "Message": ""}]}, told]
    PATIENCE.ask(lambda: require_deleted(busy.pop(0)))
    assert not busy


def test_a_taken_name_is_known_by_the_answer() -> None:
    assert is_taken(behind(answer(412, "PreconditionFailed"))) and is_taken(FileExistsError("a"))
    assert not is_taken(answer(409, "ConditionalRequestConflict")) and not is_taken(OSError("a")) and not is_taken(None)


@pytest.mark.parametrize(
    ("minutes", "told"), [(-17, "17 minutes ahead of"), (16, "16 minutes behind"), (4, None), (-4, None)]
)
def test_a_wrong_clock_is_seen_from_the_answers_date(minutes: int, told: str | None) -> None:
    date = datetime.now(UTC) + timedelta(minutes=minutes)
    advice = clock_advice(behind(answer(403, "RequestTimeTooSkewed", date=date)))
    assert advice is None if told is None else f"clock is {told} the store's" in (advice or "")
    assert clock_advice(answer(404, "NoSuchKey", date=date)) is None, "it was not refused"
    assert clock_advice(answer(403, "AccessDenied")) is None and clock_advice(OSError("a")) is None


def test_settings_are_ours_where_the_standard_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INSTAFLOW_STORE_PATIENCE_S", "INSTAFLOW_STORE_TIMEOUT_S"):
        monkeypatch.delenv(name, raising=False)
    assert Settings.from_environment() == Settings(patience_s=120.0, timeout_s=20.0)
    monkeypatch.setenv("INSTAFLOW_STORE_PATIENCE_S", "0")
    monkeypatch.setenv("INSTAFLOW_STORE_TIMEOUT_S", "1.5")
    assert Settings.from_environment() == Settings(patience_s=0.0, timeout_s=1.5)


def test_the_retries_of_a_request_are_the_standards_if_it_says_so(
    rclone: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in rclone.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_MAX_ATTEMPTS", raising=False)
    config = options(SETTINGS)["config_kwargs"]
    assert config["retries"] == {"total_max_attempts": 3}
    assert config["connect_timeout"] == config["read_timeout"] == 1.0
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "7")
    assert "retries" not in options(SETTINGS)["config_kwargs"]


@pytest.mark.parametrize(("name", "value"), [("PATIENCE_S", "2 min"), ("PATIENCE_S", "-1"), ("TIMEOUT_S", "0")])
def test_a_setting_that_is_no_number_of_seconds(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"INSTAFLOW_STORE_{name}", value)
    with pytest.raises(UserError, match=rf"INSTAFLOW_STORE_{name}={value}: expected a number of seconds"):
        open_store("s3://bucket/x")
    open_store("memory://x")


def test_an_endpoint_that_is_none(monkeypatch: pytest.MonkeyPatch, rclone: S3Server, tmp_path: Path) -> None:
    use(rclone, "localhost:9000", monkeypatch, tmp_path)
    store = new_store()
    for ask in (store.read, store.exists, store.delete):
        with pytest.raises(StoreError, match="Invalid endpoint: localhost:9000. Check AWS_ENDPOINT_URL"):
            ask("a")
