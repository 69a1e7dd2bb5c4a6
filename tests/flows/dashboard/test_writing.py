"""Only what changed is written, nothing of others is touched, and a build that was killed is mended by the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.dashboard.writing import LIST, Written, write_site
from infra.errors import UserError
from infra.store import open_store
from infra.store.local import LocalStore
from tests.s3 import BUCKET, S3Server

FIRST = {"a.html": b"a", "b/c.html": b"c", "index.html": b"front"}


def test_only_what_changed_is_written_and_what_is_gone_is_removed(tmp_path: Path) -> None:
    out = open_store(tmp_path)
    assert write_site(out, FIRST) == Written(3, 3, 0)
    times = out.modified()
    assert write_site(out, FIRST) == Written(3, 0, 0) and out.modified() == times
    assert write_site(out, {"a.html": b"other", "index.html": b"front"}) == Written(2, 1, 1)
    assert out.list() == ["a.html", "index.html", LIST] and out.read("a.html") == b"other"


def test_a_page_that_somebody_deleted_or_cut_is_written_again(tmp_path: Path) -> None:
    out = open_store(tmp_path)
    write_site(out, FIRST)
    out.delete("a.html")
    out.write("b/c.html", b"cut to pieces")
    assert write_site(out, FIRST).changed == 2 and out.read("b/c.html") == b"c"


@pytest.mark.parametrize("there", [{"index.html": b"my own"}, {"index.html": b"my own", LIST: b'{"pages": []}'}])
def test_what_somebody_else_put_there_is_not_replaced(there: dict[str, bytes], tmp_path: Path) -> None:
    out = open_store(tmp_path)
    for path, data in there.items():
        out.write(path, data)
    with pytest.raises(UserError, match="site"):
        write_site(out, FIRST)
    assert out.read("index.html") == b"my own"


class Killed(LocalStore):
    """A store whose writer is killed at a certain change."""

    changes_left = 0

    def write(self, path: str, data: bytes) -> None:
        if self.changes_left == 0:
            raise KeyboardInterrupt
        self.changes_left -= 1
        super().write(path, data)


@pytest.mark.parametrize("at", range(5))
def test_killed_at_every_change_the_next_build_mends_it(at: int, tmp_path: Path) -> None:
    second = {"a.html": b"A", "d.html": b"d", "index.html": b"FRONT"}
    out = Killed(tmp_path)
    out.changes_left = 99
    write_site(out, FIRST)
    out.changes_left = at
    with pytest.raises(KeyboardInterrupt):
        write_site(out, second)
    out.changes_left = 99
    write_site(out, FIRST)  # the pages are again as the list of before the kill had them
    assert {path: out.read(path) for path in out.list() if path != LIST} == FIRST


def test_a_site_lies_on_s3(rclone: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in rclone.environment().items():
        monkeypatch.setenv(name, value)
    out = open_store(f"s3://{BUCKET}/site")
    assert write_site(out, FIRST).changed == 3 and write_site(out, FIRST).changed == 0
    assert out.read("index.html") == b"front"
