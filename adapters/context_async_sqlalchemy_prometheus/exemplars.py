"""Exemplars: the trace in which something was measured, where OpenTelemetry is there and records it."""

Trace = dict[str, str]
"""The labels of an exemplar: the identifiers of a trace and of a span."""


def no_trace() -> Trace | None:
    """Know of no trace."""
    return None


try:
    from opentelemetry.context import get_current
    from opentelemetry.trace import format_span_id, format_trace_id, get_current_span
except ImportError:
    current_trace = no_trace
else:

    def _of_current_span() -> Trace | None:
        context = get_current()
        if not context:
            return None  # Asking for the span of nothing takes twice as long.
        span = get_current_span(context).get_span_context()
        # A span that is not sampled is kept by nobody: its id would lead nowhere.
        if not span.trace_flags.sampled:
            return None
        return {"trace_id": format_trace_id(span.trace_id), "span_id": format_span_id(span.span_id)}

    current_trace = _of_current_span
