"""What Kubernetes is told: valid by its own schemas. No cluster runs it here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prefect.utilities.templating import apply_values, find_placeholders

from tests import ROOT

KUBERNETES = ROOT / "infra" / "kubernetes"
VERSION = "1.37"
TEMPLATE = json.loads((KUBERNETES / "gpu-job-template.json").read_text())
RUN = {
    "name": "pairs-1", "labels": {"prefect.io/flow-run-name": "pairs-1"}, "command": ["prefect", "flow-run", "execute"],
    "env": [{"name": "PREFECT_API_URL", "value": "http://server:4200/api"}], "service_account_name": "default",
}  # fmt: skip


def _manifest(**told: Any) -> dict[str, Any]:
    """The job of a run, as Prefect's worker fills the template."""
    defaults = {name: one["default"] for name, one in TEMPLATE["variables"]["properties"].items() if "default" in one}
    filled: dict[str, Any] = apply_values(TEMPLATE["job_configuration"], {**defaults, **RUN, **told})
    return filled["job_manifest"]


def test_every_variable_of_the_template_is_declared_and_used() -> None:
    used = {one.name for one in find_placeholders(TEMPLATE["job_configuration"])}
    assert used == {*TEMPLATE["variables"]["properties"]}


@pytest.mark.parametrize("told", [{}, {"gpus": 8, "node_selector": {"gpu": "h200"}, "tolerations": []}])
def test_the_job_of_a_run_is_a_job(told: dict[str, Any]) -> None:
    kubernetes_validate.validate(_manifest(**told), VERSION, strict=True)


def test_a_job_is_made_once_and_has_what_a_gpu_needs() -> None:
    spec = _manifest(gpus=4)["spec"]
    assert spec["backoffLimit"] == 0, "Prefect starts it again, and Kubernetes would do so, too"
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 4 and pod["terminationGracePeriodSeconds"] >= 60
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["drain.sh"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_what_is_no_job_is_refused() -> None:
    """The schema is looked at."""
    wrong = _manifest()
    wrong["spec"]["template"]["spec"]["containers"][0]["resource"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="resource"):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


def test_the_worker_is_a_deployment() -> None:
    kubernetes_validate.validate(yaml.safe_load((KUBERNETES / "worker-cpu.yaml").read_text()), VERSION, strict=True)


_SECRET = re.compile(r"(AUTH_STRING|PASSWORD|API_KEY|SECRET_ACCESS_KEY)$|^connection-string$", re.IGNORECASE)


@pytest.mark.parametrize("path", sorted(KUBERNETES.iterdir()), ids=lambda path: path.name)
def test_no_secret_stands_in_a_file(path: Path) -> None:
    """A secret is named by the Secret it lies in, never by its value."""
    for one in _mappings(yaml.safe_load(path.read_text())):
        assert not _SECRET.search(str(one.get("name", ""))) or "value" not in one, one
        assert not any(_SECRET.search(name) and isinstance(value, str) for name, value in one.items()), one


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _mappings(one)
