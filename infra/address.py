"""What an address may hold: nothing secret, for it ends up in manifests, run records, logs and Prefect's database."""

from __future__ import annotations

import re

from infra.errors import UserError

_URL = re.compile(r"[\w.+:-]*://\S*")
_HOST = re.compile(r"(\[[^]]*\]|[^:]*)(:\d*)?")
_QUERY = re.compile(r"\?[\w.~%-]+=")


def require_public(url: str, what: str) -> None:
    """Raise UserError, which repeats no secret, for a URL that :func:`secret_in` finds one in; `what` it is of."""
    if found := secret_in(url):
        raise UserError(
            f"{what} {public(url)}: the URL carries {found}, which would end up in logs and manifests; give credentials"
            " through the environment or the provider's own files instead"
        )


def require_public_pattern(path: str, what: str) -> None:
    """As :func:`require_public`, where `?` may stand for any character: only `?name=` begins a query."""
    require_public(path if _QUERY.search(path) else path.replace("?", "*"), what)


def secret_in(url: str) -> str | None:
    """What a URL holds that may be a secret, in words; None if nothing, as of a path without `://`."""
    _, found, rest = url.partition("://")
    if not found:
        return None
    user, at, host = _authority(rest).rpartition("@")
    if ":" in user:
        return "a user name and password"
    if at:  # of S3 it is a key
        return "a user name"
    if not _HOST.fullmatch(host):  # the way it looks when a password holds a `/`
        return "a port that is no number, or a password"
    return "a query (?...)" if "?" in rest else "a fragment (#...)" if "#" in rest else None


def public(text: str) -> str:
    """The text with each URL in it without password, query and fragment: what a message may repeat."""
    return _URL.sub(lambda found: _clean(found[0]), text)


def _clean(url: str) -> str:
    protocol, _, rest = url.partition("://")
    user, at, host = _authority(rest).rpartition("@")
    if _HOST.fullmatch(host):
        known = rest.removeprefix(f"{user}{at}")
    elif "@" in rest:  # the first `/` does not tell where a password ends
        known = rest.rpartition("@")[2]
    else:
        known = f"{host.partition(':')[0]}:..."
    return f"{protocol}://{re.split('[?#]', known, maxsplit=1)[0]}"


def _authority(rest: str) -> str:
    return re.split("[/?#]", rest, maxsplit=1)[0]
