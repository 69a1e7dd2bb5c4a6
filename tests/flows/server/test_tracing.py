"""What a collector of OpenTelemetry is told of a run: Prefect's own spans, as a receiver reads them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests import ROOT
from tests.otlp import attributes, receiver

INSTRUMENT = Path(sys.executable).with_name("opentelemetry-instrument")


@pytest.mark.server
def test_a_run_is_a_trace_of_its_stages_whatever_became_of_them(tmp_path: Path, prefect_home: Path) -> None:
    with receiver() as received:
        told = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": received.url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none",
        }  # fmt: skip
        here = {"PYTHONPATH": str(ROOT), "SMALL_STAGES_WEIGHTS": str(tmp_path / "weights")}
        run = subprocess.run(
            [INSTRUMENT, sys.executable, "-m", "tests.flows.small_stages", "run", "tiny", "--until", "prompts"],
            env=os.environ | here | told | {"SMALL_STAGE_FAILS": "prompts"},
            cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
    assert run.returncode == 2 and "prompts: told to fail" in run.stderr, run.stderr
    assert {scope for scope, _ in received.spans} == {"prefect"}, "nothing of the server's own"
    spans = {span.name: span for span in received.by_scope("prefect") if attributes(span)["prefect.run.type"] == "flow"}
    assert [*spans] == ["tiny of mini", "world", "prompts"]
    whole, world, prompts = spans.values()
    assert len({span.trace_id for span in spans.values()}) == 1 and not whole.parent_span_id
    assert world.parent_span_id == prompts.parent_span_id == whole.span_id
    tags = {tag.partition(":")[0] for tag in attributes(world)["prefect.tags"]}
    assert {"recipe:tiny", "stage:world"} <= {*attributes(world)["prefect.tags"]} and "fingerprint" in tags
    codes = [span.status.code for span in (whole, world, prompts)]
    assert codes == [Status.STATUS_CODE_ERROR, Status.STATUS_CODE_OK, Status.STATUS_CODE_ERROR]
    assert "told to fail" in prompts.status.message
    assert [event.name for event in world.events] == ["Running", "Completed"]
