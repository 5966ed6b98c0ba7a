"""An OTLP/HTTP trace collector: keeps the spans that it is sent, and tells when an awaited one came."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedSpan:
    """One span as it was exported. Ids are hex; `parent_id` is empty for a root."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str


class Collector:
    """Listens on a free loopback port from its making until `close`."""

    def __init__(self) -> None:
        self._spans: list[CollectedSpan] = []
        self._came = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector._take(_decompressed(body, self.headers.get("content-encoding", "")))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def await_services(self, trace_id: str, services: set[str], *, deadline_seconds: float) -> list[CollectedSpan]:
        """The spans of a trace once each of the services sent one; what came when the time is up."""
        deadline = time.monotonic() + deadline_seconds
        with self._came:
            while True:
                found = [span for span in self._spans if span.trace_id == trace_id]
                left = deadline - time.monotonic()
                if services <= {span.service for span in found} or left <= 0:
                    return found
                self._came.wait(left)

    def _take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        spans = [
            CollectedSpan(
                service=next(
                    entry.value.string_value for entry in group.resource.attributes if entry.key == "service.name"
                ),
                name=span.name,
                trace_id=span.trace_id.hex(),
                span_id=span.span_id.hex(),
                parent_id=span.parent_span_id.hex(),
            )
            for group in request.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]
        with self._came:
            self._spans.extend(spans)
            self._came.notify_all()


def _decompressed(body: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        import gzip

        return gzip.decompress(body)
    return body
