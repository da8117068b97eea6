"""Spans as the SDK's exporter in memory got them."""

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Sampler
from opentelemetry.trace import Tracer


class Traces:
    """A tracer provider whose spans the test looks into.

    Args:
        sampler: decides which are recorded; by default all.

    """

    def __init__(self, sampler: Sampler = DEFAULT_ON) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def tracer(self) -> Tracer:
        """The tracer of the application."""
        return self.provider.get_tracer("application")

    def names(self) -> list[str]:
        """Return the names of the spans that have ended, in that order."""
        return [span.name for span in self._exporter.get_finished_spans()]

    def all(self, name: str) -> list[ReadableSpan]:
        """Return the ended spans of a name."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        """Return the one span of a name.

        Raises:
            AssertionError: there is none, or more than one.

        """
        spans = self.all(name)
        assert len(spans) == 1, f"{len(spans)} spans {name!r} among {self.names()}"
        return spans[0]


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    """Tell whether a span is right below another one."""
    own, above = span.get_span_context(), parent.get_span_context()
    return (
        span.parent is not None
        and own is not None
        and above is not None
        and span.parent.span_id == above.span_id
        and own.trace_id == above.trace_id
    )


def times(span: ReadableSpan) -> tuple[int | None, int | None]:
    """Return when a span began and ended, in Unix nanoseconds."""
    return span.start_time, span.end_time


def attributes(span: ReadableSpan) -> dict[str, object]:
    """Return the attributes of a span."""
    return dict(span.attributes or {})


def events(span: ReadableSpan) -> list[tuple[str, int, dict[str, object]]]:
    """Return the events of a span: name, Unix nanoseconds and attributes."""
    return [(event.name, event.timestamp, dict(event.attributes or {})) for event in span.events]
