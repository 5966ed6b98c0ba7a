"""Telemetry: OpenTelemetry traces and metrics, silent when nobody listens.

Traces leave only when an OTLP endpoint is set; metrics are read at `/metrics`. The trace of a submission goes through
every service in the `traceparent` header of its records.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context, metrics, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

_PROPAGATOR = TraceContextTextMapPropagator()
METRICS_CONTENT_TYPE = CONTENT_TYPE_LATEST


def configure_telemetry(*, service: str, otlp_endpoint: str | None) -> None:
    """Sets up this process's providers. Without an endpoint spans are made, so that ids flow, and dropped."""
    resource = Resource.create({"service.name": f"assize-{service}"})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    if otlp_endpoint is not None:
        # The exporter retries and logs by itself when no collector answers; it must not fill our logs.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        exporter = OTLPSpanExporter(endpoint=otlp_endpoint.rstrip("/") + "/v1/traces", timeout=1)
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider(resource=resource, metric_readers=[PrometheusMetricReader()]))


def tracer() -> trace.Tracer:
    return trace.get_tracer("assize")


def meter() -> metrics.Meter:
    return metrics.get_meter("assize")


def metrics_text() -> bytes:
    """The body of `/metrics`, of type METRICS_CONTENT_TYPE."""
    return generate_latest()


def current_traceparent() -> str | None:
    """The `traceparent` of the current span, or None outside any."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def span(name: str, *, traceparent: str | None = None, **attributes: str | int) -> Iterator[trace.Span]:
    """A span, a child of `traceparent` when that is given and of the current span otherwise."""
    parent = context.get_current() if traceparent is None else _PROPAGATOR.extract({"traceparent": traceparent})
    with tracer().start_as_current_span(name, context=parent, attributes=attributes) as started:
        yield started
