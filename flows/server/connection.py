"""Which Prefect API a command speaks to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    get_current_settings,
    temporary_settings,
)

from flows.server.local import Endpoint, local_server, standing_server, state_folder
from flows.server.records import flush
from infra.address import public, secret_in
from infra.errors import UserError

_PASSWORD = "PREFECT_API_AUTH_STRING (USER:PASSWORD; of Prefect Cloud PREFECT_API_KEY)"
_WITHIN_S = 10.0
# Leaving a flow waits a second for its heartbeat, for which nobody listens where no worker could take it over.
_HUSHED: dict[Any, Any] = {"flows.heartbeat_frequency": None}


@contextmanager
def connected(meanwhile: Callable[[], object] = lambda: None) -> Iterator[str]:
    """The API's URL while the block may run flows: the configured, the standing or a new local server's.

    Leaves when the server has every record. Raises UserError when the configured API cannot be reached. `meanwhile` is
    called in the seconds that a server takes to start.
    """
    configured = get_current_settings().api.url
    standing = None if configured else standing_server()
    if configured is not None:
        _require(configured)
        yield from _flushed(configured)
    elif standing is not None:
        with _speaking_to(standing), temporary_settings(_HUSHED):
            yield from _flushed(standing.url)
    else:
        with local_server(meanwhile=meanwhile) as endpoint, _speaking_to(endpoint), temporary_settings(_HUSHED):
            yield from _flushed(endpoint.url)


@contextmanager
def standing() -> Iterator[str]:
    """The API's URL while the block speaks to a server that others speak to as well: the configured or the standing.

    Raises UserError when there is none.
    """
    configured = get_current_settings().api.url
    if configured is not None:
        _require(configured)
        yield configured
    elif (endpoint := standing_server()) is not None:
        with _speaking_to(endpoint):
            yield endpoint.url
    else:
        raise UserError(
            f"no Prefect server stands on this machine (none in {state_folder()}). Start one: instaflow server; or say"
            f" where it is: PREFECT_API_URL=http://HOST:PORT/api, and {_PASSWORD}."
        )


def _flushed(url: str) -> Iterator[str]:
    try:
        yield url
    finally:
        flush()


def _require(url: str) -> None:
    """Ask the server for something that only who may speak to it is told."""
    if found := secret_in(url):
        raise UserError(
            f"PREFECT_API_URL {public(url)}: the URL carries {found}, which would end up in logs; expected"
            f" http://HOST:PORT/api. What a server asks for goes into {_PASSWORD}."
        )
    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(httpx_settings={"timeout": _WITHIN_S}, sync_client=True) as client,
        ):
            client.read_flows(limit=1)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None
        if status in (401, 403):
            raise UserError(
                f"PREFECT_API_URL {url}: the server refuses us (HTTP {status}): it asks for a password, or for another."
                f" Put what it was started with into {_PASSWORD}."
            ) from error
        why = f"HTTP {status}" if status else str(error) or type(error).__name__
        raise UserError(
            f"PREFECT_API_URL {url}: no server answers there: {why}. Start it, or unset PREFECT_API_URL"
            " (and the active Prefect profile's) to have a local one started."
        ) from error


@contextmanager
def _speaking_to(endpoint: Endpoint) -> Iterator[None]:
    """This process and its children speak to `endpoint`."""
    settings = {PREFECT_API_URL: endpoint.url, PREFECT_API_AUTH_STRING: endpoint.auth}
    with _environment(endpoint.environment()), temporary_settings(settings):
        yield


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if value is not None})
