"""The file of the pools: what it may say, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.deploy.pools import BUNDLED, read_pools
from infra.errors import UserError


def test_the_bundled_one_is_for_a_machine_of_ones_own() -> None:
    pools = read_pools()
    assert pools == read_pools(BUNDLED) and pools.default == "cpu"
    assert [*pools.pools] == ["cpu", "gpu"] and {pool.type for pool in pools.pools.values()} == {"process"}
    assert pools.pools["gpu"].workers[0].devices == "0" and pools.pools["cpu"].workers[0].devices == ""
    assert pools.lost_after_s == 3 * pools.heartbeat_s


def test_a_job_template_lies_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "pools.yaml"
    file.write_text("default: k\npools: {k: {type: kubernetes, base_job_template: k.json}}")
    with pytest.raises(UserError, match=r"pools\.yaml: pools\.k\.base_job_template: .*/k\.json: no such file"):
        read_pools(file)
    (tmp_path / "k.json").write_text("{}")
    assert read_pools(file).pools["k"].base_job_template == str(tmp_path / "k.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("default: gpu\npools: {cpu: {}}", "`default` gpu is none of the pools: cpu"),
        ("default: a\npools: {a: {workers: [{devices: '0,1'}]}, b: {workers: [{devices: '1'}]}}", "device 1 .* a .* b"),
        ("default: a\npools: {a: {workers: [{devices: '0'}, {devices: '0'}]}}", "device 0 is given to a worker of a"),
        ("default: a\nlost_after_s: 30\npools: {a: {}}", "`lost_after_s` 30 is no longer than `heartbeat_s` 30"),
        ("default: a\nheartbeat_s: 5\npools: {a: {}}", "heartbeat_s: .*30"),
        ("default: a\npools: {a: {typ: process}}", r"pools\.a\.typ: unknown key\. Did you mean pools\.a\.type\?"),
        ("default: a\npools: {}", "pools: "),
    ],
)
def test_what_cannot_be_is_refused_by_name(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"mine\.yaml: .*{said}"):
        read_pools(tmp_path / "mine.yaml")
