"""A receiver of spans over OTLP/HTTP, and what came in as a tree, which is how Jaeger shows it."""

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

_INDENT = "  "


@dataclass(frozen=True)
class Received:
    """A span that came in.

    Args:
        span: as OTLP has it.
        service: the ``service.name`` of its resource.
        scope: the name of the instrumentation that made it.

    """

    span: Span
    service: str
    scope: str

    @property
    def attributes(self) -> dict[str, object]:
        """Its attributes."""
        return _attributes(self.span.attributes)

    @property
    def begin(self) -> int:
        """When it began, in Unix nanoseconds."""
        return self.span.start_time_unix_nano

    @property
    def end(self) -> int:
        """When it ended, in Unix nanoseconds."""
        return self.span.end_time_unix_nano


class Receiver:
    """The part of a collector that takes traces."""

    def __init__(self) -> None:
        self._requests: list[ExportTraceServiceRequest] = []

    def application(self) -> web.Application:
        """Make the HTTP server."""
        app = web.Application()
        app.router.add_post("/v1/traces", self._receive)
        return app

    def spans(self) -> list[Received]:
        """Return the spans that have come in."""
        return [
            Received(span, str(_attributes(resource.resource.attributes)["service.name"]), scope.scope.name)
            for request in self._requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def trace(self, root: str) -> "Trace":
        """Return the trace of the span of this name; there must be one, and only one."""
        (found,) = [received.span.trace_id for received in self.spans() if received.span.name == root]
        return Trace([received for received in self.spans() if received.span.trace_id == found])

    async def _receive(self, request: web.Request) -> web.Response:
        self._requests.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(content_type="application/x-protobuf")


@asynccontextmanager
async def receiving() -> AsyncGenerator[tuple[Receiver, str]]:
    """Run a receiver during the block; give it, and the URL for an exporter."""
    receiver = Receiver()
    server = TestServer(receiver.application())
    await server.start_server()
    try:
        yield receiver, str(server.make_url("/v1/traces"))
    finally:
        await server.close()


class Trace:
    """The spans of a trace.

    Args:
        spans: all of them, in any order.

    """

    def __init__(self, spans: list[Received]) -> None:
        self.spans = spans

    def root(self) -> Received:
        """Return the span that is below no other one."""
        (root,) = [received for received in self.spans if not received.span.parent_span_id]
        return root

    def one(self, name: str) -> Received:
        """Return the only span of a name."""
        (one,) = [received for received in self.spans if received.span.name == name]
        return one

    def below(self, parent: Received) -> list[Received]:
        """Return the spans right below another one, in the order of their beginnings."""
        children = [received for received in self.spans if received.span.parent_span_id == parent.span.span_id]
        return sorted(children, key=lambda child: child.begin)

    def tree(self, shown: Iterable[str]) -> str:
        """Write the trace: of each span name, kind, whether it failed, and attributes; then events, and what is below.

        Args:
            shown: the names of the attributes that are written.

        """
        return "\n".join(_lines(self, self.root(), tuple(shown), ""))


def _lines(trace: Trace, received: Received, shown: tuple[str, ...], indent: str) -> Iterator[str]:
    def written(attributes: dict[str, object]) -> str:
        return "".join(f"  {name}={attributes[name]}" for name in shown if name in attributes)

    span = received.span
    kind = Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_")
    failed = " ERROR" if span.status.code == Status.STATUS_CODE_ERROR else ""
    yield f"{indent}{span.name}  {kind}{failed}{written(received.attributes)}"
    for event in span.events:
        yield f"{indent}{_INDENT}* {event.name}{written(_attributes(event.attributes))}"
    for child in trace.below(received):
        yield from _lines(trace, child, shown, indent + _INDENT)


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, object]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}
