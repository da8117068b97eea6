"""Exemplars: the trace in which something was measured, where OpenTelemetry is there and records it."""

Exemplar = dict[str, str]


def no_exemplar() -> Exemplar | None:
    """Know of no trace."""
    return None


try:
    from opentelemetry.trace import format_span_id, format_trace_id, get_current_span
except ImportError:
    current_exemplar = no_exemplar
else:

    def _of_current_span() -> Exemplar | None:
        span = get_current_span().get_span_context()
        # A span that is not sampled is kept by nobody: its id would lead nowhere.
        if not span.trace_flags.sampled:
            return None
        return {"trace_id": format_trace_id(span.trace_id), "span_id": format_span_id(span.span_id)}

    current_exemplar = _of_current_span
