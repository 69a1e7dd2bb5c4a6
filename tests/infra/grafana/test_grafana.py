"""Grafana's files: of the schema of its own library, and every number that they ask for is one that Prometheus has."""

from __future__ import annotations

import base64
import json
import secrets
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from grafana_foundation_sdk.models.prometheus import Dataquery

from flows.dashboard.serving import serving
from flows.run.costs import FILE
from flows.server import local
from infra.store import Store, open_store
from infra.upkeep.runs import list_runs, write_run
from tests import ROOT
from tests.flows.observed import small_store

GRAFANA = ROOT / "infra" / "grafana"
DASHBOARD = json.loads((GRAFANA / "instaflow.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
WITHIN_S = 120.0


def test_every_field_of_the_dashboard_is_one_of_grafanas() -> None:
    _require_kept(DASHBOARD, json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD))), "dashboard")
    for target in (target for panel in PANELS for target in panel["targets"]):  # which it leaves to each source
        _require_kept(target, json.loads(JSONEncoder().encode(Dataquery.from_json(target))), "target")


def _require_kept(told: Any, read: Any, where: str) -> None:
    """What Grafana's own library read of it is all that stands there."""
    if isinstance(told, dict):
        for name, value in told.items():
            assert name in read, f"{where}.{name} is unknown to Grafana"
            _require_kept(value, read[name], f"{where}.{name}")
    elif isinstance(told, list):
        assert len(told) == len(read), where
        for number, (one, other) in enumerate(zip(told, read, strict=True)):
            _require_kept(one, other, f"{where}[{number}]")
    else:
        assert told == read, where


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells


def test_everything_is_asked_of_the_provisioned_source() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/instaflow.yaml").read_text())["datasources"]
    asked = [one["datasource"] for panel in PANELS for one in (panel, *panel["targets"])]
    asked += [one["datasource"] for one in DASHBOARD["templating"]["list"]]
    assert {(one["type"], one["uid"]) for one in asked} == {(source["type"], source["uid"])}
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/instaflow.yaml").read_text())["providers"]
    assert provider["type"] == "file" and provider["options"]["path"]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that reads a served dashboard as infra/grafana/prometheus.yml says."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed: apt-get install prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    store, port, password = open_store(folder / "store"), local._free_port(), secrets.token_hex(16)
    small_store.fill(store, folder / "made")
    for run in list_runs(store):  # one that runs now
        if run.part_of:
            write_run(store, run.model_copy(update={"heartbeat_at": datetime.now(UTC).isoformat()}))
    (folder / "site.yaml").write_text("cost: {gpu: 2.5/h, cpu: 0.1/h}\ncurrency: EUR\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FILE, str(folder / "site.yaml"))
        yield from _reading(program, folder, store, port, password)


def _reading(program: str, folder: Path, store: Store, port: int, password: str) -> Iterator[str]:
    with serving(store, 0, f"instaflow:{password}") as url:
        (folder / "dashboard-password").write_text(password)
        config = yaml.safe_load((GRAFANA / "prometheus.yml").read_text())
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [url.split("/")[2]]
        config["global"]["scrape_interval"] = "1s"
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        address = f"127.0.0.1:{port}"
        with (folder / "log").open("wb") as log:
            options = {"config.file": "prometheus.yml", "storage.tsdb.path": "data", "web.listen-address": address}
            process = subprocess.Popen(
                [program, *(f"--{name}={value}" for name, value in options.items())],
                cwd=folder, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            _wait_for_two_scrapes(f"http://{address}", process, folder / "log")
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(30)


def _wait_for_two_scrapes(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """A change over time takes two."""
    deadline_s = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline_s:
        assert process.poll() is None, log.read_text()
        try:
            if any(float(one["value"][1]) >= 2 for one in ask(url, "count_over_time(instaflow_damaged[1h])")):
                return
        except urllib.error.URLError:
            pass
        time.sleep(0.2)
    pytest.fail(f"nothing was read within {WITHIN_S:g} s: {ask(url, 'up')}\n{log.read_text()}")


def ask(url: str, expression: str) -> list[dict[str, Any]]:
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=60) as answer:
        found: list[dict[str, Any]] = json.loads(answer.read())["data"]["result"]
    return found


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_panel_has_something_to_show(prometheus: str, expression: str) -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    found = ask(prometheus, expression.replace(f"${variable['name']}", variable["allValue"]))
    assert found, expression
    panel = next(one for one in PANELS if expression in [target["expr"] for target in one["targets"]])
    (legend,) = (one["legendFormat"] for one in panel["targets"] if one["expr"] == expression)
    for label in _labels_of(legend):
        assert all(label in one["metric"] for one in found), f"{legend}: there is no {label}"


def _labels_of(legend: str) -> list[str]:
    return [part.partition("}}")[0] for part in legend.split("{{")[1:]]


def test_the_choice_of_recipes_is_that_of_the_store(prometheus: str) -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    metric, label = variable["query"].removeprefix("label_values(").removesuffix(")").split(", ")
    assert {one["metric"][label] for one in ask(prometheus, metric)} == {
        "mini", "tiny", "killed", "sd15", small_store.LONG
    }  # fmt: skip


def test_who_knows_no_password_reads_nothing(prometheus: str) -> None:
    (up,) = ask(prometheus, "up")
    labels: Mapping[str, str] = up["metric"]
    url = f"http://{labels['instance']}/metrics"
    for auth in ("", "instaflow:wrong"):
        headers = {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"}
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60)
