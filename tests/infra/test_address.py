"""What may not stand in an address, and what of one is repeated."""

from __future__ import annotations

import pytest

from infra.address import public, require_public, require_public_pattern, secret_in
from infra.errors import UserError

REFUSED = {
    "s3://key:hunter2@bucket/path": ("a user name and password", "s3://bucket/path"),
    "s3://hunter2@bucket/path": ("a user name", "s3://bucket/path"),
    "https://hunter2@host:8080/path": ("a user name", "https://host:8080/path"),
    "s3://key:hun/ter2@bucket/path": ("a port that is no number, or a password", "s3://bucket/path"),
    "s3://key:hun?ter2@bucket/path": ("a port that is no number, or a password", "s3://bucket/path"),
    "s3://key:hun@ter2@bucket/path": ("a user name and password", "s3://bucket/path"),
    "gs://bucket/path?sig=hunter2": ("a query (?...)", "gs://bucket/path"),
    "gs://bucket/a@b?hunter2": ("a query (?...)", "gs://bucket/a@b"),
    "abfs://box@account/path?sig=hunter2#hunter2": ("a user name", "abfs://account/path"),
    "sftp://me@host:22/path": ("a user name", "sftp://host:22/path"),
    "memory://bucket/path#hunter2": ("a fragment (#...)", "memory://bucket/path"),
    "sftp://me:hunter2@host/path": ("a user name and password", "sftp://host/path"),
    "simplecache::s3://key:hunter2@bucket": ("a user name and password", "simplecache::s3://bucket"),
    "http://host:hunter2/api": ("a port that is no number, or a password", "http://host:..."),
    "http://[::1/hunter2": ("a port that is no number, or a password", "http://[:..."),
}


@pytest.mark.parametrize("url", REFUSED)
def test_a_secret_is_refused_and_not_repeated(url: str) -> None:
    found, shown = REFUSED[url]
    assert (secret_in(url), public(url)) == (found, shown)
    with pytest.raises(UserError) as caught:
        require_public(url, "store")
    assert str(caught.value).startswith(f"store {shown}: the URL carries {found}, which would end up in logs")
    assert public(f"--set a={url} b, {url}") == f"--set a={shown} b, {shown}"
    assert not {"hunter2", "ter2"} & {*str(caught.value).split("@")}


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/a@b/c:d", "http://127.0.0.1:4200/api", "https://[::1]:443/x", "/home/me/what?#", "a folder",
        "memory://x", "hub://a/b@c",
    ],
)  # fmt: skip
def test_what_holds_none_is_taken_and_repeated(url: str) -> None:
    require_public(url, "store")
    assert secret_in(url) is None and public(url) == url


def test_in_a_pattern_a_question_mark_is_any_character() -> None:
    require_public_pattern("s3://bucket/date=2024-0?/part-??.parquet", "files")
    for url in ("https://host/a.parquet?sig=hunter2", "https://host/*.parquet?x-y=hunter2", "s3://k:hunter2@b/?"):
        with pytest.raises(UserError) as caught:
            require_public_pattern(url, "files")
        assert "hunter2" not in str(caught.value)
