"""Spans that really leave: over OTLP/HTTP, to a receiver that decodes the protobuf."""

import asyncio

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from context_async_sqlalchemy_opentelemetry import OpenTelemetryObserver

from .otlp import receiving
from .records import Pool, checkout, context, early_release, tell_all, transaction, unix


async def test_spans_arrive_over_otlp() -> None:
    async with receiving() as (receiver, url):
        provider = TracerProvider(resource=Resource.create({"service.name": "shop"}), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url)))
        observer, pool, record = OpenTelemetryObserver(tracer_provider=provider), Pool(), context(ended=3.0)
        early = checkout(record, pool, 1.0, 1.5, 2.0, transaction(1.5, 2.0), path="queued", by="commit", is_early=True)
        with provider.get_tracer("application").start_as_current_span("POST /orders"):
            tell_all(observer, record, early, early_release(early, 3.0))
        # The exporter waits for the answer, which comes from this event loop.
        await asyncio.to_thread(provider.shutdown)

    trace = receiver.trace("POST /orders")
    session = trace.one("db.session main")
    assert [received.span.name for received in trace.below(trace.root())] == ["db.session main"]
    assert [received.span.name for received in trace.below(session)] == [
        "db.connection.acquire main",
        "db.transaction main",
    ]
    assert len(trace.spans) == len(receiver.spans())
    assert (session.begin, session.end) == (unix(1.0), unix(3.0))
    assert [event.name for event in session.span.events] == ["released_early"]
    assert session.attributes["db.session.outcome"] == "commit"
    assert session.attributes["db.session.transactions"] == 1
    assert (session.service, session.scope) == ("shop", "context_async_sqlalchemy_opentelemetry")
