"""The shop's traces: a server span for each request, where they go, and the slowest request of one kind."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Span, SpanContext, SpanKind, StatusCode
from rich.tree import Tree

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_MOST_OPEN = 1000
_SHOWN = {
    "db.session.outcome": "{}",
    "db.session.transactions": "transactions {}",
    "db.session.statements": "statements {}",
    "db.session.idle_seconds": "held idle {:.3f} s",
    "db.transaction.outcome": "{}",
    "db.transaction.statements": "statements {}",
    "db.session.acquire_path": "{}",
    "http.response.status_code": "status {}",
    "error.type": "{}",
}


class SlowestRequest(SpanProcessor):
    """Keeps the spans of the request that took longest.

    Args:
        request: the method and the route of the requests that count.

    """

    def __init__(self, request: str) -> None:
        self._request = request
        self._open: dict[int, list[ReadableSpan]] = {}
        self._spans: list[ReadableSpan] = []
        self._nanoseconds = -1

    def restart(self) -> None:
        """Forget the past."""
        self._spans, self._nanoseconds = [], -1

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span; that of the request is the last of its trace."""
        spans = self._open.setdefault(_identity(span).trace_id, [])
        spans.append(span)
        if span.kind is SpanKind.SERVER:
            del self._open[_identity(span).trace_id]
            if span.name == self._request and _nanoseconds(span) > self._nanoseconds:
                self._spans, self._nanoseconds = spans, _nanoseconds(span)
        elif len(self._open) > _MOST_OPEN:
            # Traces without a request: jobs.
            del self._open[next(iter(self._open))]

    def tree(self) -> Tree | None:
        """Draw the spans as a tree; None if there was no request."""
        if not self._spans:
            return None
        *others, request = self._spans
        tree = Tree(_line(request))
        self._grow(tree, request, sorted(others, key=lambda span: span.start_time or 0))
        return tree

    def _grow(self, branch: Tree, parent: ReadableSpan, spans: list[ReadableSpan]) -> None:
        for span in spans:
            if span.parent is not None and span.parent.span_id == _identity(parent).span_id:
                twig = branch.add(_line(span))
                for event in span.events:
                    if event.name == "released_early":
                        saved = (event.attributes or {}).get("db.session.saved_seconds", 0)
                        twig.add(f"released early, for {saved:.3f} s")
                self._grow(twig, span, spans)


@contextmanager
def traces(request: str) -> Generator[SlowestRequest]:
    """Trace requests during the block. Spans also go to the OTLP endpoint that the environment names, if any.

    Args:
        request: the method and the route of the requests whose slowest one is kept.

    """
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    slowest = SlowestRequest(request)
    provider.add_span_processor(slowest)
    if any(os.environ.get(name) for name in _ENDPOINTS):
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        yield slowest
    finally:
        provider.shutdown()


def request_span(method: str, route: str) -> Span:
    """Begin the span of a request.

    Args:
        method: of the request.
        route: the template of its route.

    """
    return trace.get_tracer("examples.shop").start_span(
        f"{method} {route}",
        kind=SpanKind.SERVER,
        attributes={"http.request.method": method, "http.route": route},
    )


def answered(span: Span, status: int) -> None:
    """Write down how a request was answered.

    Args:
        span: of the request.
        status: of the answer.

    """
    span.set_attribute("http.response.status_code", status)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        span.set_status(StatusCode.ERROR)


def _identity(span: ReadableSpan) -> SpanContext:
    return span.get_span_context() or INVALID_SPAN_CONTEXT


def _nanoseconds(span: ReadableSpan) -> int:
    return (span.end_time or 0) - (span.start_time or 0)


def _line(span: ReadableSpan) -> str:
    attributes = span.attributes or {}
    shown = ", ".join(text.format(attributes[name]) for name, text in _SHOWN.items() if name in attributes)
    return f"{span.name:<28} {_nanoseconds(span) / 1e6:9.1f} ms  {shown}"
