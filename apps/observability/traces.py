"""Traces for OpenTelemetry. Off until OTEL_EXPORTER_OTLP_ENDPOINT is set; until then the SDK is not even imported.

One trace a batch. Its ids are made of the batch's id, so that the web process, every worker and whoever assembles find
the same ones, with nothing to carry in messages or rows: a message does not say whose chunk will be run for it.

    batch                      from its creation to its end, told by whoever ends it
    ├── create                 in the web process
    ├── chunk, once a claim    in a worker; its id goes to the upstream as `traceparent`, with each of its lines
    │   └── (what the upstream itself tells of a line)
    └── assemble

There is no span of ours for a line: it would cost as much as all else that is done with it.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

EXPORT_SECONDS = 3
"""For one try to reach the collector, in a thread of its own."""


class Ids(NamedTuple):
    """Those of the batch's trace and of its uppermost span."""

    trace: int
    span: int


class Span:
    """What goes on just now; without an OpenTelemetry span in it, while traces are off, it does nothing."""

    def __init__(self, span: "OtelSpan | None" = None) -> None:
        self._span = span

    @property
    def traceparent(self) -> str | None:
        """The header of the W3C's recommendation that has others continue here; None while traces are off."""
        if self._span is None:
            return None
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def set(self, **attributes: str | int) -> None:
        if self._span is not None:
            self._span.set_attributes(attributes)


def ids_of(batch_id: str) -> Ids:
    digest = hashlib.sha256(batch_id.encode()).digest()
    return Ids(int.from_bytes(digest[:16]) or 1, int.from_bytes(digest[16:24]) or 1)


@contextmanager
def span(name: str, batch_id: str, **attributes: str | int) -> Iterator[Span]:
    """A span of the batch's trace for as long as the block lasts; an exception that leaves it is noted."""
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        yield Span()
        return
    about = {"zerobatch.batch_id": batch_id, **attributes}
    with _tracer().start_as_current_span(name, context=_below(batch_id), attributes=about) as started:
        yield Span(started)


def told_afterwards(name: str, batch_id: str, started_at: float, **attributes: str | int) -> None:
    """A span that ends now, of what began before anybody knew the batch's id; `started_at` as of `time.time()`."""
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        about = {"zerobatch.batch_id": batch_id, **attributes}
        _tracer().start_span(name, context=_below(batch_id), attributes=about, start_time=_ns(started_at)).end()


def batch_ended(batch_id: str, created_at: datetime, **attributes: str | int) -> None:
    """The uppermost span, told once."""
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return
    from opentelemetry.context import Context  # noqa: PLC0415

    token = _given_ids.set(ids_of(batch_id))
    try:
        about = {"zerobatch.batch_id": batch_id, **attributes}
        begun_at = _ns(created_at.timestamp())
        _tracer().start_span("batch", context=Context(), attributes=about, start_time=begun_at).end()
    finally:
        _given_ids.reset(token)


_given_ids: ContextVar[Ids | None] = ContextVar("ids of the span that begins now", default=None)


def _below(batch_id: str) -> "Context":
    """Where the batch's uppermost span, of which nobody may have told yet, is the parent."""
    from opentelemetry import trace  # noqa: PLC0415

    ids = ids_of(batch_id)
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    return trace.set_span_in_context(
        trace.NonRecordingSpan(trace.SpanContext(ids.trace, ids.span, is_remote=True, trace_flags=flags))
    )


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


@cache
def _tracer() -> "Tracer":
    """With what tells the collector, from a thread of its own. The SDK reads its other settings (`OTEL_…`) itself."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415

    class GivenIds(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            given = _given_ids.get()
            return given.trace if given else super().generate_trace_id()

        def generate_span_id(self) -> int:
            given = _given_ids.get()
            return given.span if given else super().generate_span_id()

    resource: Any = Resource.create({"service.name": "zerobatch"})
    provider = TracerProvider(resource=resource, id_generator=GivenIds())
    endpoint = f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT.rstrip('/')}/v1/traces"
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_SECONDS)))
    return provider.get_tracer("zerobatch")
