"""Spans that really leave: over OTLP/HTTP, to a receiver that decodes the protobuf."""

import asyncio

from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from context_async_sqlalchemy_opentelemetry import OpenTelemetryObserver

from .records import Pool, checkout, context, early_release, tell_all, transaction, unix


class Receiver:
    """The part of a collector that takes traces."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []

    def application(self) -> web.Application:
        """Make the HTTP server."""
        app = web.Application()
        app.router.add_post("/v1/traces", self._receive)
        return app

    def spans(self) -> dict[str, Span]:
        """Return the spans that have come in, by their names."""
        return {
            span.name: span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }

    async def _receive(self, request: web.Request) -> web.Response:
        self.requests.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(content_type="application/x-protobuf")


async def test_spans_arrive_over_otlp() -> None:
    receiver = Receiver()
    server = TestServer(receiver.application())
    await server.start_server()
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(str(server.make_url("/v1/traces")))))
    observer, pool, record = OpenTelemetryObserver(tracer_provider=provider), Pool(), context(ended=3.0)
    early = checkout(record, pool, 1.0, 1.5, 2.0, transaction(1.5, 2.0), path="queued", by="commit", is_early=True)
    with provider.get_tracer("application").start_as_current_span("POST /orders"):
        tell_all(observer, record, early, early_release(early, 3.0))
    # The exporter waits for the answer, which comes from this event loop.
    await asyncio.to_thread(provider.shutdown)
    await server.close()

    spans = receiver.spans()
    session = spans["db.session main"]
    assert session.parent_span_id == spans["POST /orders"].span_id
    assert spans["db.connection.acquire main"].parent_span_id == session.span_id
    assert spans["db.transaction main"].parent_span_id == session.span_id
    assert len({span.trace_id for span in spans.values()}) == 1
    assert (session.start_time_unix_nano, session.end_time_unix_nano) == (unix(1.0), unix(3.0))
    assert [event.name for event in session.events] == ["released_early"]
    values = {attribute.key: attribute.value for attribute in session.attributes}
    assert values["db.session.outcome"].string_value == "commit"
    assert values["db.session.transactions"].int_value == 1
    (resource,) = receiver.requests[0].resource_spans
    assert "context_async_sqlalchemy_opentelemetry" in {scope.scope.name for scope in resource.scope_spans}
