"""An OpenTelemetry collector that keeps what it is told, for tests."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class FakeCollector:
    """Takes OTLP over HTTP at `endpoint` and keeps the spans, as protobuf has them. Use it as a context manager."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/v1/traces":
                    collector._take(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def _take(self, body: bytes) -> None:
        told = ExportTraceServiceRequest.FromString(body)
        self.spans += [
            span for resource in told.resource_spans for scope in resource.scope_spans for span in scope.spans
        ]

    def spans_of(self, batch_id: str) -> list[Any]:
        return [span for span in self.spans if attributes(span).get("zerobatch.batch_id") == batch_id]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def attributes(span: Any) -> dict[str, Any]:
    """Of texts and whole numbers."""
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}
