"""A receiver of OpenTelemetry's protocol over HTTP on loopback, which keeps the spans it is sent."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Received:
    """Where spans are sent to, and those that came: OpenTelemetry's own messages."""

    url: str
    spans: list[Any] = field(default_factory=list)

    def by_scope(self, scope: str) -> list[Any]:
        """The spans of one library, in the order of their start."""
        return sorted((one for of, one in self.spans if of == scope), key=lambda one: one.start_time_unix_nano)


def attributes(span: Any) -> Mapping[str, str | list[str]]:
    """Those of a span that are texts, or lists of texts."""
    return {
        one.key: one.value.string_value or [value.string_value for value in one.value.array_value.values]
        for one in span.attributes
    }


@contextmanager
def receiver() -> Iterator[Received]:
    """Answers everything with 200 for as long as the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            plain = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            if self.path == "/v1/traces":
                for resource in ExportTraceServiceRequest.FromString(plain).resource_spans:
                    for scope in resource.scope_spans:
                        received.spans += [(scope.scope.name, span) for span in scope.spans]
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received = Received(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
