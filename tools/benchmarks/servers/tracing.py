"""The application's own part of tracing: an SDK whose spans go nowhere, and a span around each request."""

from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import DEFAULT_OFF, DEFAULT_ON
from opentelemetry.trace import SpanKind


class _Nowhere(SpanExporter):
    """What an exporter does with a span is the same for each span, whoever made it, and not measured here."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - the exporter's signature
        return SpanExportResult.SUCCESS


def tracer_provider(*, is_sampled: bool) -> TracerProvider:
    """Set the SDK up as an application does, for all traces or for none."""
    provider = TracerProvider(sampler=DEFAULT_ON if is_sampled else DEFAULT_OFF)
    provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
    return provider


def server_span(provider: TracerProvider) -> Middleware:
    """Make the middleware that puts a server span around each request."""
    tracer = provider.get_tracer("benchmark")

    @web.middleware
    async def in_server_span(request: web.Request, handler: Handler) -> web.StreamResponse:
        with tracer.start_as_current_span(
            f"{request.method} {request.path}",
            kind=SpanKind.SERVER,
            attributes={"http.request.method": request.method, "url.path": request.path},
        ) as span:
            response = await handler(request)
            span.set_attribute("http.response.status_code", response.status)
            return response

    return in_server_span
