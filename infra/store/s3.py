"""How S3 is reached: the standard AWS configuration, and how long a failing store is waited for.

Endpoint, keys, region and the retries of one request are botocore's: its environment variables and files rule.
It has no name for how long a silence may last and when a store is given up; those two are settings of ours.
"""

from __future__ import annotations

import logging
import math
import os
import random
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeVar

from aiobotocore.session import AioSession  # type: ignore[import-untyped]
from aiohttp import ClientError as HttpError
from botocore import exceptions as boto  # type: ignore[import-untyped]
from botocore.handlers import add_expect_header  # type: ignore[import-untyped]
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

from infra.errors import UserError
from infra.store.at_once import AT_ONCE
from infra.store.store import reason

PROTOCOLS = frozenset({"s3", "s3a"})
_PATIENCE, _TIMEOUT = "INSTAFLOW_STORE_PATIENCE_S", "INSTAFLOW_STORE_TIMEOUT_S"
_ATTEMPTS = 3  # of one request; botocore's own default of 5 makes a silent store too slow to be noticed
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 10.0
DELETED_AT_ONCE = 1000
"""Keys that one DeleteObjects request may name."""
_CLOCKS_APART_S = 300.0  # S3 refuses requests dated more than 15 minutes off; no store minds less than this
_LOST = (  # no answer, or one that was cut short
    ConnectionError,
    TimeoutError,
    HttpError,
    boto.ConnectionError,
    boto.HTTPClientError,
    boto.IncompleteReadError,
    ResponseParserError,
)
_PASSING = {  # codes, of 4xx answers or of single keys, that the same request may not get again
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "XAmzContentSHA256Mismatch",
}
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class GaveUp(Exception):
    """The store failed for longer than the patience. Its cause is the last failure, its text how often it was tried."""


FAILURES = (OSError, *_LOST, boto.BotoCoreError, boto.ClientError, GaveUp)
"""The exceptions by which S3 says that it failed, absence included."""


@dataclass(frozen=True)
class Settings:
    """How long a store may fail, s."""

    patience_s: float
    """For how long an operation that does not get on is tried again."""
    timeout_s: float
    """How long a connection may take or be silent before a request is given up and tried again."""

    @classmethod
    def from_environment(cls) -> Settings:
        """INSTAFLOW_STORE_PATIENCE_S and INSTAFLOW_STORE_TIMEOUT_S. Raises UserError for what is no number."""
        return cls(patience_s=_seconds(_PATIENCE, 120.0, 0.0), timeout_s=_seconds(_TIMEOUT, 20.0, 0.1))


def _seconds(name: str, default: float, least: float) -> float:
    text = os.environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value < math.inf:
        raise UserError(f"{name}={text}: expected a number of seconds, {least:g} or more; {default:g} if unset.")
    return value


def options(settings: Settings) -> dict[str, Any]:
    """What s3fs is opened with."""
    session = AioSession()
    # aiohttp waits without end for the go-ahead (Expect: 100-continue) of a store that has stopped answering
    session.unregister("before-call.s3", add_expect_header)
    session.register("before-call.s3.GetObject", _without_checksum_of_a_part)
    config: dict[str, Any] = {
        "connect_timeout": settings.timeout_s,
        "read_timeout": settings.timeout_s,
        "max_pool_connections": 2 * AT_ONCE,  # botocore's 10 would have threads wait for one another
        "connector_args": {"socket_factory": partial(_socket, settings.timeout_s)},
    }
    if session.get_config_variable("max_attempts") is None:  # neither AWS_MAX_ATTEMPTS nor the profile says
        config["retries"] = {"total_max_attempts": _ATTEMPTS}
    return {"session": session, "config_kwargs": config}


def _without_checksum_of_a_part(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    # rclone answers a range with the whole file's checksum, which botocore then takes for damage
    if "Range" in params["headers"]:
        context.get("checksum", {}).pop("response_algorithms", None)


def _socket(timeout_s: float, address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(*address[:3])
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # the read timeout starts when a request is sent: without this a store that stops taking it hangs us for ever
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeout_s * 1000))
    return made


class Patience:
    """How long an operation waits for a store that fails; each of its requests that succeeds renews it.

    A large file is many requests, and threads may make them at the same time.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings, self._name, self._got_on_at = settings, name, -math.inf

    def ask(self, ask: Callable[[], _T]) -> _T:
        """What `ask` returns; failures that may pass are waited out, with growing and random pauses.

        Raises GaveUp when the patience is over, and any other failure (refused, absent, misconfigured) at once.
        """
        tries, failing_since = 0, math.inf
        while True:
            try:
                found = ask()
            except FAILURES as error:
                if not _may_pass(error):
                    raise
                if self._got_on_at > failing_since:
                    tries, failing_since = 0, math.inf
                tries, failing_since = tries + 1, min(failing_since, time.monotonic())
                self._wait(tries, failing_since, error)
            else:
                self._got_on_at = time.monotonic()
                if tries:
                    _log.warning("%s: answers again after %.0f s", self._name, self._got_on_at - failing_since)
                return found

    def _wait(self, tries: int, failing_since: float, error: BaseException) -> None:
        patience_s, failing_s = self._settings.patience_s, time.monotonic() - failing_since
        wait_s = random.uniform(0.5, 1.0) * min(_FIRST_WAIT_S * 2 ** min(tries - 1, 16), _LONGEST_WAIT_S)
        if failing_s + wait_s > patience_s:
            raise GaveUp(_tried(tries, failing_s, self._settings)) from error
        if tries == 1:
            _log.warning("%s: %s; tried again for %g s", self._name, describe(error), patience_s)
        time.sleep(wait_s)


def _tried(tries: int, failing_s: float, settings: Settings) -> str:
    times = "once" if tries == 1 else f"{tries} times in {failing_s:.0f} s"
    return f"tried {times} ({_PATIENCE}={settings.patience_s:g}, {_TIMEOUT}={settings.timeout_s:g})"


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may get another answer in a while."""
    if (answer := _answer(error)) is not None:
        status = _status(answer)
        return status in (408, 429) or (status >= 500 and status != 501) or answer["Error"].get("Code") in _PASSING
    return isinstance(error, _LOST) and "CERTIFICATE" not in str(error).upper()


def require_deleted(answer: Mapping[str, Any]) -> None:
    """Raise ClientError for the first key that DeleteObjects could not delete: the request itself succeeds anyway."""
    for error in answer.get("Errors", []):
        if error.get("Code") != "NoSuchKey":
            told = {"Code": error.get("Code"), "Message": f"{error.get('Key')}: {error.get('Message')}"}
            raise boto.ClientError(
                {"Error": told, "ResponseMetadata": answer.get("ResponseMetadata", {})}, "DeleteObjects"
            )


def is_taken(error: BaseException | None) -> bool:
    """Whether a name that was to be created exists."""
    answer = _answer(error)
    return isinstance(error, FileExistsError) or (answer is not None and _status(answer) == 412)


def describe(error: BaseException) -> str:
    """What went wrong in one phrase: the answer's status, code and message, or the exception."""
    if (answer := _answer(error)) is None:
        return f"{type(error).__name__}: {reason(error)}"
    code, message = answer["Error"].get("Code", ""), answer["Error"].get("Message", "")
    return f"HTTP {_status(answer)} {code}: {message}".rstrip(": .")


def clock_advice(error: BaseException) -> str | None:
    """The remedy when the store refuses requests because this machine's clock is wrong, else None."""
    answer = _answer(error) or {}
    dated = (answer.get("ResponseMetadata") or {}).get("HTTPHeaders", {}).get("date")
    if not dated or _status(answer) not in (400, 403):
        return None
    ahead_s = (_now() - parsedate_to_datetime(dated)).total_seconds()
    if abs(ahead_s) < _CLOCKS_APART_S:
        return None
    how = f"{abs(ahead_s) / 60:.0f} minutes {'ahead of' if ahead_s > 0 else 'behind'} the store's"
    return f"This machine's clock is {how}, and requests are signed with the time: set the clock (NTP)"


def _now() -> datetime:
    return datetime.now(UTC)


def _answer(error: BaseException | None) -> Mapping[str, Any] | None:
    """The store's own answer behind an exception that s3fs made of it."""
    while error is not None:
        if isinstance(error, boto.ClientError):
            return error.response
        error = error.__cause__
    return None


def _status(answer: Mapping[str, Any]) -> int:
    return int((answer.get("ResponseMetadata") or {}).get("HTTPStatusCode") or 0)
